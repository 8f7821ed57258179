"""A type of covariance that the library has not, in one file and a line in the table: everything works with it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from scoremix import GaussianMixture, load
from scoremix.arrays import like, multiply_into, product
from scoremix.models.covariance.interface import LOG_2PI, linear_features
from scoremix.models.covariance.types import TYPES


@dataclass(frozen=True)
class Common:
    """One variance per column, the same for all components; values (d,)."""

    values: np.ndarray
    kind: ClassVar[str] = "common"
    shape: ClassVar[str] = "d"
    is_shared: ClassVar[bool] = True
    is_diagonal: ClassVar[bool] = True
    has_shapes: ClassVar[bool] = False
    is_round: ClassVar[bool] = False

    @classmethod
    def of(cls, values, n_features):
        return cls(values)

    @staticmethod
    def n_parameters(n_components, n_features):
        return n_features

    def n_sums(self, n_features):
        return 1 + 2 * n_features

    def dense(self, n_components, n_features):
        return np.broadcast_to(np.diag(self.values), (n_components, n_features, n_features))

    def precisions_cholesky(self):
        return 1 / np.sqrt(self.values)

    def log_det(self, n_components, n_features):
        return np.full(n_components, np.log(self.values).sum())

    def condition(self, n_features):
        return 1.0

    def squared_distance(self, means, point):
        return np.sum((means - point) ** 2 / self.values, axis=1)

    def features(self, x, frame):
        d = x.shape[0]
        phi = linear_features(x, frame, 2 * d + 1)
        multiply_into(phi[1 : d + 1, :], phi[1 : d + 1, :], phi[d + 1 :, :])
        return phi

    def natural(self, weights, means):
        pull = means / self.values
        constant = np.log(weights) - 0.5 * np.sum(LOG_2PI + np.log(self.values) + pull * means, axis=1)
        return np.concatenate([constant[:, None], pull, np.broadcast_to(-0.5 / self.values, means.shape)], axis=1)

    def gradient(self, coefficients, x):
        d = x.shape[0]
        return coefficients[1 : d + 1, :] + 2 * coefficients[d + 1 :, :] * x

    def second(self, sums, common, delta):
        d = delta.shape[1]
        moved = sums[:, d + 1 :] - 2 * sums[:, 1 : d + 1] * delta + sums[:, :1] * delta**2
        return moved.sum(axis=0)

    def fitted(self, mass, second, reg):
        return Common(np.maximum(second, 0.0) / mass.sum() + reg)

    def plus(self, variance):
        return Common(self.values + variance)

    def marginal(self, columns):
        return Common(self.values[columns])

    def with_values(self, values):
        return Common(values)

    def guarded(self, ratio):
        return self

    def take(self, components):
        return self

    def scaled(self, scale):
        return Common(self.values * scale**2)

    def merged(self, i, j, weights, delta):
        between = weights.prod(axis=0) / weights.sum(axis=0)
        return TYPES["diag"](self.values + between[:, None] * delta**2)

    def whiten(self, offsets):
        return offsets / like(np.sqrt(self.values), offsets)

    def moment(self, offsets, weight):
        return product(weight.reshape(1, -1), (offsets**2).reshape(-1, offsets.shape[-1]))[0].astype(np.float64)

    def recentered(self, second, first, left, shift):
        return second - np.sum((first + left) * shift, axis=0)

    def second_of(self, weights):
        return self.values

    def reduced(self, second):
        return second.sum(axis=0)

    def extended(self, wide):
        return Common(np.diagonal(wide[0]))

    @staticmethod
    def spread(moment, n_features):
        return moment

    @staticmethod
    def raised(mass, second, floor):
        return np.maximum(second, mass.sum() * floor)


CENTERS = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 60.0]])
SCALE = np.array([1.0, 5.0])


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setitem(TYPES, "common", Common)
    rng = np.random.default_rng(0)
    return CENTERS[rng.integers(3, size=3000)] + SCALE * rng.standard_normal((3000, 2))


@pytest.mark.parametrize(
    "how", [{}, {"init_params": "kmeans"}, {"acceleration": "squarem"}, {"covariance_prior": "shared"}]
)
def test_it_is_fitted(rows, how):
    model = GaussianMixture(3, covariance_type="common", random_state=0, tol=1e-8, max_iter=500, **how).fit(rows)
    # A variance of n samples is known to sqrt(2 / n), a mean of n / 3 to sqrt(3 / n) standard deviations: six of them.
    np.testing.assert_allclose(model.covariances_, SCALE**2, rtol=6 * np.sqrt(2 / 3000))
    gaps = np.abs(model.means_[:, None] - CENTERS).max(axis=2).min(axis=0)
    assert np.all(gaps < 6 * SCALE.max() * np.sqrt(3 / 3000))
    np.testing.assert_allclose(model.precisions_, 1 / model.covariances_, rtol=1e-12)


def test_it_is_the_fit_of_diagonal_covariances_that_are_the_same(rows):
    model = GaussianMixture(3, covariance_type="common", random_state=0).fit(rows)
    same = GaussianMixture.from_parameters(model.weights_, model.means_, np.tile(model.covariances_, (3, 1)), "diag")
    for ask in ("score_samples", "predict_proba", "predict"):
        np.testing.assert_allclose(getattr(model, ask)(rows), getattr(same, ask)(rows), rtol=1e-9, atol=1e-9)
    for ask in ("score_function", "denoise"):
        np.testing.assert_allclose(getattr(model, ask)(rows, 0.7), getattr(same, ask)(rows, 0.7), rtol=1e-9, atol=1e-9)
        sigma = np.linspace(0.1, 2, len(rows))
        np.testing.assert_allclose(
            getattr(model, ask)(rows, sigma), getattr(same, ask)(rows, sigma), rtol=1e-9, atol=1e-9
        )
    ours, theirs = model.conditional({0: 1.0}), same.conditional({0: 1.0})
    np.testing.assert_allclose(ours.score_samples(rows[:, 1:]), theirs.score_samples(rows[:, 1:]), rtol=1e-9)
    np.testing.assert_allclose(model.sample(5, random_state=0)[0], same.sample(5, random_state=0)[0], rtol=1e-9)


def test_its_number_of_components_is_found(rows):
    assert GaussianMixture("auto", covariance_type="common", random_state=0).fit(rows).n_components_ == 3


def test_values_may_be_missing(rows):
    rng = np.random.default_rng(1)
    holes = np.where(rng.random(rows.shape) < 0.1, np.nan, rows)
    model = GaussianMixture(3, covariance_type="common", missing_values=np.nan, random_state=0).fit(holes)
    # Nine of ten entries are left, and labels are surer than not: as above, with room for a tenth more.
    np.testing.assert_allclose(model.covariances_, SCALE**2, rtol=7 * np.sqrt(2 / 2700))


def test_it_learns_from_batches_and_is_stored(rows, tmp_path):
    model = GaussianMixture(3, covariance_type="common", random_state=0)
    for batch in np.split(rows, 3):
        model.partial_fit(batch)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors").score_samples(rows), model.score_samples(rows))
