"""The number of components: one Gaussian, separated clusters, real data, other shapes, and what the estimator says."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import scoremix
from scoremix import GaussianMixture
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.search.component_number import (
    ComponentSearch,
    deletion_costs,
    pair_charge,
    search_component_number,
)
from scoremix.learning.search.global_start import make_search
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")
DATA = Path(scoremix.__file__).parent / "data"


def fitted(x, kind="full", sample_weight=None, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        params = {"random_state": 0, **params}
        return GaussianMixture("auto", covariance_type=kind, **params).fit(x, sample_weight=sample_weight)


def seeds(number, fast):
    """Seeds of which all but the first few are for the slow suite."""
    return [pytest.param(seed, marks=[] if seed < fast else pytest.mark.slow) for seed in range(number)]


def separated(k, d, per_cluster=120, seed=0):
    """Clusters of unit variance whose centres are at least 8 apart."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((0, d))
    while len(centres) < k:
        new = rng.uniform(-1, 1, d) * 12 * k ** (1 / d)
        if np.all(np.linalg.norm(centres - new, axis=1) > 8):
            centres = np.concatenate([centres, new[None]])
    label = np.arange(k * per_cluster) % k
    return centres[label] + rng.standard_normal((len(label), d)), centres


def heavy_tailed(seed, n=1500):
    """Three separated clusters of Student's distribution with 4 degrees of freedom."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [15.0, 0.0], [0.0, 15.0]])
    length = np.sqrt(rng.chisquare(4, n) / 4)
    return centres[np.arange(n) % 3] + rng.standard_normal((n, 2)) / length[:, None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", seeds(10, 2))
def test_one_gaussian_is_one_component(kind, seed):
    x = np.random.default_rng(seed).standard_normal((500, 3))
    model = fitted(x, kind, random_state=seed)
    assert model.n_components_ == 1
    np.testing.assert_allclose(model.means_[0], x.mean(axis=0), atol=1e-6)
    assert model.merge_cost_ == np.inf


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("n", [*(pytest.param(n, marks=pytest.mark.scene) for n in (20, 60)), 5000])
def test_one_long_gaussian_is_one_component(kind, n):
    x = np.random.default_rng(0).standard_normal((n, 2)) @ np.array([[3.0, 2.0], [0.0, 0.1]])
    assert fitted(x, kind).n_components_ == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [2, 6])
@pytest.mark.parametrize("k", [2, 5, 12])
def test_separated_clusters_are_counted(kind, d, k):
    x, centres = separated(k, d)
    model = fitted(x, kind)
    # One more in 2 of 160 data sets of 12 clusters in the plane: some rows of a cluster happen to lie close together.
    assert k <= model.n_components_ <= k + 1
    assert model.means_.shape == (model.n_components_, d)
    # Means of 120 rows: standard deviation 0.09 per column; six of these beyond the length of d of them.
    assert np.linalg.norm(model.means_[:, None] - centres, axis=2).min(axis=0).max() < 0.09 * (np.sqrt(d) + 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_many_clusters_are_counted(kind, seed):
    x, _ = separated(40, 3, seed=seed)
    assert fitted(x, kind, random_state=seed).n_components_ == 40


def test_one_column_is_enough():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(centre, 1, 150) for centre in (-10, 0, 10)])[:, None]
    for kind in KINDS:
        assert fitted(x, kind).n_components_ == 3


def test_a_small_cluster_counts():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((5000, 2)), 0.3 * rng.standard_normal((40, 2)) + 8])
    model = fitted(x)
    assert model.n_components_ == 2
    assert model.weights_.min() == pytest.approx(40 / 5040, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_old_faithful_has_two_components(seed):
    x = np.loadtxt(DATA / "old_faithful.csv", delimiter=",", skiprows=1)
    assert fitted(x, random_state=seed).n_components_ == 2


@pytest.mark.parametrize("seed", seeds(5, 1))
def test_old_faithful_has_two_clusters(seed):
    x = np.loadtxt(DATA / "old_faithful.csv", delimiter=",", skiprows=1)
    model = fitted(x, criterion="clusters", random_state=seed)
    assert model.n_components_ == 2
    # Short eruptions of about 2 minutes follow short waits, long ones of 4.3 follow long waits.
    np.testing.assert_allclose(np.sort(model.means_[:, 0]), [2.05, 4.3], atol=0.1)


@pytest.mark.parametrize("most", [1, 2, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_never_more_than_the_most_components(kind, most):
    x, _ = separated(5, 2)
    model = fitted(x, kind, max_components=most)
    assert model.n_components_ == most
    assert max(k for _, k, _ in model.selection_path_) <= most


@pytest.mark.parametrize("seed", seeds(4, 1))
def test_clusters_with_heavy_tails_are_fewer_than_components(seed):
    x = heavy_tailed(seed)
    density, clusters = fitted(x), fitted(x, criterion="clusters")
    assert 3 <= clusters.n_components_ < density.n_components_
    assert density.score(x) > clusters.score(x)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_at_most_as_many_as_components(kind, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-8, 8, (7, 2))[rng.integers(7, size=700)] + rng.standard_normal((700, 2))
    assert fitted(x, kind, criterion="clusters").n_components_ <= fitted(x, kind).n_components_


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", seeds(6, 1))
def test_rounded_data_do_not_have_more_components(kind, seed):
    x = np.random.default_rng(seed).standard_normal((500, 2))
    assert fitted(np.round(x, 1), kind).n_components_ == 1


@pytest.mark.parametrize("step", [1e-3, 1.0, 50.0])
def test_rounding_has_no_units(step):
    x = step * np.round(10 * np.random.default_rng(0).standard_normal((500, 2)))
    assert fitted(x).n_components_ == 1


@pytest.mark.parametrize("steps", [4, 10])
def test_many_rounded_rows_do_not_have_more_components(steps):
    x = np.round(steps * np.random.default_rng(0).standard_normal((2000, 1)))
    assert fitted(x).n_components_ == 1


def scattered(seed):
    """Eight clusters, some of which overlap."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-8, 8, (8, 2))[rng.integers(8, size=800)] + rng.standard_normal((800, 2))


@pytest.mark.parametrize("criterion", ["density", "clusters"])
@pytest.mark.parametrize("seed", seeds(4, 1))
def test_the_path_starts_with_too_many_and_ends_at_the_result(criterion, seed):
    model = fitted(scattered(seed), criterion=criterion, random_state=seed)
    path = model.selection_path_
    assert path[0][0] == "over-cover"
    assert path[-1][1] == model.n_components_ == len(model.weights_)
    for step, number, value in path:
        assert isinstance(step, str)
        assert 1 <= number <= 100
        assert np.isfinite(value)
    merges = [number for step, number, _ in path if step == "merge clusters"]
    assert merges == list(range(model.n_components_ + len(merges) - 1, model.n_components_ - 1, -1))
    assert criterion == "clusters" or not merges


@pytest.mark.parametrize("criterion", ["density", "clusters"])
def test_the_path_climbs(criterion):
    for seed in range(2):
        path = fitted(scattered(seed), criterion=criterion, random_state=seed).selection_path_
        # Charges fall from stage to stage; a final merge is judged with the entropy, by its own measure.
        for is_merge in (False, True):
            values = [value for step, _, value in path if (step == "merge clusters") == is_merge]
            assert np.all(np.diff(values) > 0)


def test_the_seed_determines_the_result():
    x, _ = separated(5, 3)
    one, again = fitted(x, random_state=3), fitted(x, random_state=3)
    np.testing.assert_array_equal(one.means_, again.means_)
    np.testing.assert_array_equal(one.covariances_, again.covariances_)
    assert one.selection_path_ == again.selection_path_


def test_repeated_rows_are_weights():
    x, _ = separated(4, 2)
    weight = np.random.default_rng(0).integers(1, 3, len(x)).astype(float)
    weighted, repeated = fitted(x, sample_weight=weight), fitted(np.repeat(x, weight.astype(int), axis=0))
    assert weighted.n_components_ == repeated.n_components_ == 4
    # Repeats are more rows than their weights are effective ones (9/10), and beside more rows the prior counts less.
    assert weighted.score(x) == pytest.approx(repeated.score(x), abs=0.01)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_units_do_not_change_the_number(kind):
    x, _ = separated(5, 3)
    scale, shift = np.array([1e-3, 1.0, 2e4]), np.array([5.0, -300.0, 1e6])
    assert fitted(x * scale + shift, kind, reg_covar=0.0).n_components_ == 5


def test_single_precision_counts_the_same():
    x, _ = separated(5, 3)
    assert fitted(x.astype(np.float32)).n_components_ == 5


def test_missing_values_do_not_change_the_number():
    x, _ = separated(4, 3, per_cluster=200)
    x[np.random.default_rng(1).random(x.shape) < 0.05] = np.nan
    assert fitted(x, missing_values=np.nan).n_components_ == 4


def test_copies_of_two_rows_are_few_components():
    model = fitted(np.repeat(np.array([[0.0, 0.0], [1.0, 1.0]]), 30, axis=0))
    assert model.n_components_ <= 2
    assert np.all(np.isfinite(model.covariances_))


@pytest.mark.parametrize("kind", KINDS)
def test_two_rows_are_one_component(kind):
    assert fitted(np.array([[0.0, 1.0], [2.0, 0.5]]), kind).n_components_ == 1


def test_a_fixed_number_is_told_as_well():
    x, _ = separated(3, 2)
    model = GaussianMixture(3, random_state=0).fit(x)
    assert model.n_components_ == 3
    assert model.selection_path_ == []
    assert model.split_gain_ < 0.02
    # Two of three clusters 8 apart or more: (2/3) (log(1 + 4^2) / 2 - log 2) = .48 nats or more, to about 10 %.
    assert model.merge_cost_ > 0.3
    assert GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]]).n_components_ == 1


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"n_components": "two"}, "n_components"),
        ({"n_components": "auto", "means_init": [[0.0, 0.0]]}, "means_init"),
        ({"n_components": "auto", "weights_init": [1.0]}, "weights_init"),
        ({"n_components": "auto", "precisions_init": [[[1.0, 0.0], [0.0, 1.0]]]}, "precisions_init"),
        ({"criterion": "bic"}, "criterion"),
        ({"max_components": 0}, "max_components"),
        ({"max_components": 2.5}, "max_components"),
        ({"covariance_prior": "x"}, "covariance_prior"),
        ({"init_params": "best"}, "init_params"),
    ],
)
def test_parameters_that_make_no_sense_are_named(params, name):
    with pytest.raises(ValueError, match=name):
        GaussianMixture(**params).fit(np.random.default_rng(0).standard_normal((50, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_keeps_what_was_found(kind, tmp_path):
    x, _ = separated(3, 2)
    model = fitted(x, kind)
    model.save(tmp_path / "model.safetensors")
    again = scoremix.load(tmp_path / "model.safetensors")
    assert again.get_params() == model.get_params()
    assert again.n_components_ == 3
    assert (again.split_gain_, again.merge_cost_) == (model.split_gain_, model.merge_cost_)
    assert again.selection_path_ == model.selection_path_
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_a_file_keeps_an_infinite_cost(tmp_path):
    model = fitted(np.random.default_rng(0).standard_normal((100, 2)))
    model.save(tmp_path / "model.safetensors")
    again = scoremix.load(tmp_path / "model.safetensors")
    assert again.merge_cost_ == np.inf
    assert again.split_gain_ == model.split_gain_


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learn_gets_the_same_mixture(kind):
    x, _ = separated(3, 2)
    model = fitted(x, kind)
    theirs = model.to_sklearn()
    assert theirs.n_components == 3
    np.testing.assert_array_equal(theirs.predict(x), model.predict(x))
    np.testing.assert_allclose(theirs.score_samples(x), model.score_samples(x), rtol=1e-9)
    assert theirs.fit(x).means_.shape == (3, 2)


def number_of(x, kind="full", n_total=None):
    d = x.shape[1]
    rows = InMemorySamples(x, np.ones(len(x)))
    free = {"full": (d + 1) * (d + 2) // 2, "diag": 2 * d + 1, "spherical": d + 2, "tied": d + 1}[kind]
    return ComponentSearch(make_search(rows, x[:2], kind), float(n_total or len(x)), free, 10, np.zeros(len(x)))


def test_charges_are_those_of_the_criteria():
    number, weights = number_of(np.random.default_rng(0).standard_normal((400, 3))), np.array([0.2, 0.8])
    # Ten parameters a component: of BIC log n / 2n each, of MML all but one by the rows of the component.
    np.testing.assert_allclose(number.bic(weights, 0.0), 10 * np.log(400) / 800)
    np.testing.assert_allclose(number.mml(weights, 0.0), (9 * np.log(400 * weights) + np.log(400)) / 800)
    # A common shape counts for two rows per parameter at most: ten rows against the eighty of the smaller component.
    np.testing.assert_allclose(number.bic(weights[:1], 80.0), (10 - 5 * 10 / 90) * np.log(400) / 800)
    np.testing.assert_allclose(number.bic(weights[:1], 5.0), (10 - 5 * 5 / 85) * np.log(400) / 800)
    assert np.all(number.mml(weights, 0.0) < number.bic(weights, 0.0))


def test_a_sample_is_charged_for_what_it_gains_by_chance():
    x = np.random.default_rng(0).standard_normal((400, 3))
    whole, part = number_of(x), number_of(x, n_total=4000)
    one = np.ones(1)
    assert whole.bic(one, 0.0) == pytest.approx(10 * np.log(400) / 800)
    assert part.bic(one, 0.0) == pytest.approx(10 * (np.log(4000) / 8000 + (1 / 400 - 1 / 4000) / 2))


def test_a_merge_saves_the_charge_of_two_less_that_of_one():
    number = number_of(np.random.default_rng(0).standard_normal((400, 2)), "diag")
    weights, i, j = np.array([0.1, 0.3, 0.6]), np.array([0, 0]), np.array([1, 2])
    saved = pair_charge(number.mml, weights, i, j, 5.0)
    for p, (a, b) in enumerate(zip(i, j, strict=True)):
        one, other, both = (
            number.mml(np.array([w]), 5.0)[0] for w in (weights[a], weights[b], weights[a] + weights[b])
        )
        assert saved[p] == pytest.approx(one + other - both)


@pytest.mark.parametrize("kind", KINDS)
def test_deletion_costs_are_those_of_leaving_one_out(kind):
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    values = {"full": np.tile(np.eye(2), (3, 1, 1)), "tied": np.eye(2), "diag": np.ones((3, 2))}
    mixture = Mixture(np.array([0.5, 0.3, 0.2]), means, covariance_of(kind, values.get(kind, np.ones(3)), 2))
    rows = InMemorySamples(2 * rng.standard_normal((300, 2)), rng.integers(1, 4, 300).astype(float))
    before, costs = rows.posterior(mixture), deletion_costs(rows.posterior(mixture))
    for k in range(3):
        left = mixture.take(np.delete(np.arange(3), k))
        after = rows.posterior(Mixture(left.weights / left.weights.sum(), left.means, left.covariance))
        assert costs[k] == pytest.approx(before.log_likelihood - after.log_likelihood, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mixture_is_in_the_units_of_the_rows(kind):
    x, centres = separated(3, 2)
    mixture, path = search_component_number(ArraySource(100 * x + 7), kind, 20, np.random.default_rng(0))
    assert mixture.n_components == path[-1].n_components == 3
    assert mixture.weights.sum() == pytest.approx(1)
    assert np.linalg.norm(mixture.means[:, None] - (100 * centres + 7), axis=2).min(axis=0).max() < 45
    np.testing.assert_allclose(mixture.covariances.diagonal(axis1=1, axis2=2), 1e4, rtol=0.6)
    assert np.all(np.diff(mixture.means[:, 0]) >= 0)


@pytest.mark.scene  # where the two covariances are unlike enough to be told apart
@pytest.mark.parametrize("seed", range(2))
def test_components_that_lie_on_top_of_each_other(seed):
    # 0.7 apart, covariances that differ: pruning one by one stops at three to eight, each worse than the next.
    rng = np.random.default_rng(seed)
    roots = [rng.standard_normal((2, 2)) for _ in range(2)]
    shapes = [root @ root.T / 2 + 0.3 * np.eye(2) for root in roots]
    label = rng.integers(2, size=20_000)
    x = np.einsum("nij,nj->ni", np.linalg.cholesky(shapes)[label], rng.standard_normal((20_000, 2)))
    x[:, 0] += 0.7 * label
    model, two = fitted(x), GaussianMixture(2, random_state=0, tol=1e-5, max_iter=500).fit(x)
    assert model.bic(x) < two.bic(x) + 40  # 0.001 nats per row: EM creeps here
    assert model.n_components_ == 2
