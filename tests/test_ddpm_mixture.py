"""DDPMMixture: scikit-learn's contract, parameters that are found, every option does something, wrong input."""

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data, parametrize_with_checks

from scoremix import DDPMMixture, GaussianMixture
from scoremix.arrays import to_numpy
from scoremix.noise import sigma_from_ou_time

QUICK = {"noise_times": ("all",), "n_steps": 60, "step_rule": "scaled", "learning_rate": 1.0}
"""Converges in tens of steps."""

BRISK = {"n_steps": (300, 100), "step_rule": "scaled", "learning_rate": 0.5}
"""The two published stages in fewer steps."""


def clusters(n=2000, k=3, d=4, seed=0, weights=None, shape=None):
    """Rows of k Gaussians about 6 apart, and their means."""
    rng = np.random.default_rng(seed)
    means = 6 * np.eye(d)[:k] + 1
    label = rng.choice(k, size=n, p=weights)
    noise = rng.standard_normal((n, d))
    return means[label] + (noise if shape is None else noise @ np.linalg.cholesky(shape).T), means


def distance(found, means):
    """Largest distance of a mean, components matched."""
    gaps = np.linalg.norm(found[:, None] - means[None], axis=2)
    return gaps[linear_sum_assignment(gaps)].max()


# Means of n / k rows are off by sqrt(d k / n): 0.08 for the clusters above; twice that is seen once in a thousand.
CLOSE = 0.16


@parametrize_with_checks(
    [
        DDPMMixture(n_steps=(5, 5)),
        DDPMMixture(1, noise_times=0.2, n_steps=5),
        DDPMMixture(covariance="full", weights="free", noise_times=("all",), n_steps=2, learning_rate=1.0),
    ],
    expected_failed_checks=lambda estimator: (
        {}
        if estimator.n_components == 1
        else {"check_sample_weight_equivalence_on_dense_data": "starts are drawn from the rows"}
    ),
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_weights_are_repetition_where_the_start_is_given():
    """The check of scikit-learn on its own data, from a start that is not drawn."""

    class Started(DDPMMixture):
        def fit(self, X, y=None, sample_weight=None):
            means = np.stack([np.full(X.shape[1], -0.5), np.full(X.shape[1], 0.5)])
            self.set_params(means_init=means, noise_times=(1.0,), n_steps=20)
            return super().fit(X, sample_weight=sample_weight)

    check_sample_weight_equivalence_on_dense_data("DDPMMixture", Started())


@pytest.mark.slow
def test_two_components_from_a_random_start():
    X, means = clusters(k=2)
    model = DDPMMixture(random_state=0).fit(X)
    assert distance(model.means_, means) < CLOSE
    assert model.covariance_type_ == "spherical"
    np.testing.assert_array_equal(model.covariances_, [1.0, 1.0])
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])


def test_the_symmetric_student():
    rng = np.random.default_rng(0)
    mu = np.array([1.5, -1.0, 0.0])
    X = rng.choice([-1, 1], 4000)[:, None] * mu + rng.standard_normal((4000, 3))
    model = DDPMMixture(symmetric=True, random_state=1, **BRISK).fit(X)
    np.testing.assert_array_equal(model.means_[0], -model.means_[1])
    assert distance(model.means_, np.stack([mu, -mu])) < 0.1  # sqrt(3 / 4000) = 0.03, thrice that
    for start in (mu, np.stack([mu, -mu])):
        warm = DDPMMixture(symmetric=True, means_init=start, **BRISK).fit(X)
        np.testing.assert_allclose(np.abs(warm.means_), np.abs(model.means_), atol=1e-3)


@pytest.mark.parametrize("means_init", [None, "tensor", "kmeans", "array"])
def test_warm_starts(means_init):
    X, means = clusters()
    start = means + 0.5 if means_init == "array" else means_init
    assert distance(DDPMMixture(3, means_init=start, random_state=0, **QUICK).fit(X).means_, means) < CLOSE


def test_more_components_than_third_moments_can_tell_start_from_clusters():
    means = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])
    X = means[np.random.default_rng(0).integers(4, size=2000)] + np.random.default_rng(1).standard_normal((2000, 2))
    assert distance(DDPMMixture(4, random_state=0, **QUICK).fit(X).means_, means) < CLOSE
    with pytest.raises(ValueError, match="2 dimensions"):
        DDPMMixture(4, means_init="tensor").fit(X)


@pytest.mark.parametrize("rule", ["gradient", "scaled", "adam"])
@pytest.mark.parametrize("exact", [True, False])
def test_rules_and_gradients(rule, exact):
    X, means = clusters()
    rate = {"gradient": 1.0, "scaled": 0.2, "adam": 0.03}[rule]
    model = DDPMMixture(
        3,
        noise_times=0.2,
        n_steps=150,
        step_rule=rule,
        learning_rate=rate,
        exact_gradient=exact,
        means_init=means + 0.4,
    ).fit(X)
    # A fresh draw per step adds noise of about sqrt(rate) times that of one draw; Adam keeps moving by about its rate.
    assert distance(model.means_, means) < CLOSE + 0.1


def test_batches():
    X, means = clusters()
    model = DDPMMixture(
        3, noise_times=0.2, n_steps=300, batch_size=200, step_rule="scaled", learning_rate=0.05, means_init=means + 0.4
    ).fit(X)
    assert model.n_iter_ == 300  # batches differ, so it never comes to rest
    assert distance(model.means_, means) < CLOSE + 0.05


def test_free_and_known_weights():
    X, means = clusters(weights=[0.2, 0.3, 0.5], n=4000)
    order = {"means_init": means}
    free = DDPMMixture(3, weights="free", **order, **QUICK).fit(X)
    np.testing.assert_allclose(free.weights_, [0.2, 0.3, 0.5], atol=0.03)  # sqrt(.25 / 4000) = 0.008
    known = DDPMMixture(3, weights=[0.2, 0.3, 0.5], **order, **QUICK).fit(X)
    np.testing.assert_array_equal(known.weights_, [0.2, 0.3, 0.5])
    assert free.score(X) > DDPMMixture(3, **order, **QUICK).fit(X).score(X)


@pytest.mark.parametrize("kind", ["number", "columns", "matrix"])
def test_a_known_covariance_is_a_change_of_units(kind):
    shape = {"number": 9 * np.eye(4), "columns": np.diag([1.0, 4.0, 9.0, 0.25]), "matrix": np.eye(4) + 0.5}[kind]
    covariance = {"number": 9.0, "columns": np.diag(shape), "matrix": shape}[kind]
    X, means = clusters(shape=shape)
    model = DDPMMixture(3, covariance=covariance, means_init=means, random_state=0, **QUICK).fit(X)
    white, root = X @ np.linalg.inv(np.linalg.cholesky(shape)).T, np.linalg.cholesky(shape)
    plain = DDPMMixture(3, means_init=means @ np.linalg.inv(root).T, random_state=0, **QUICK).fit(white)
    np.testing.assert_allclose(model.means_, plain.means_ @ root.T, rtol=1e-8)
    kinds = {"number": ("spherical", (3,)), "columns": ("diag", (3, 4)), "matrix": ("tied", (4, 4))}
    assert (model.covariance_type_, model.covariances_.shape) == kinds[kind]
    np.testing.assert_allclose(model.to_mixture()._mixture.covariances[0], shape, rtol=1e-12)


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_covariances_are_learnt(kind):
    rng, shapes = np.random.default_rng(0), np.array([[[2.0, 1.0], [1.0, 1.0]], [[0.5, 0.0], [0.0, 3.0]]])
    if kind == "diag":
        shapes = shapes * np.eye(2)
    label = rng.choice(2, 6000)
    X = np.array([[0.0, 0.0], [7.0, 7.0]])[label]
    X = X + np.einsum("nij,nj->ni", np.linalg.cholesky(shapes)[label], rng.standard_normal((6000, 2)))
    model = DDPMMixture(2, covariance=kind, random_state=0, noise_times=("all",), n_steps=40, learning_rate=1.0).fit(X)
    best = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    assert model.covariances_.shape == best.covariances_.shape
    # The likelihood is quadratic at its maximum: standard errors of the fit cost (parameters) / (2 n) = 0.001.
    assert best.score(X) - 0.001 < model.score(X) < best.score(X) + 1e-9


def test_predictions_are_those_of_the_mixture():
    X, means = clusters()
    model = DDPMMixture(3, means_init=means, **QUICK).fit(X)
    mixture = model.to_mixture()
    assert isinstance(mixture, GaussianMixture)
    for method in ("predict", "predict_proba", "score_samples", "score_function"):
        np.testing.assert_allclose(getattr(model, method)(X), getattr(mixture, method)(X), rtol=1e-12)
    np.testing.assert_allclose(model.denoise(X, 0.5), X + 0.25 * model.score_function(X, 0.5), atol=1e-12)
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())
    weight = np.arange(len(X))
    assert model.score(X, sample_weight=weight) == pytest.approx(np.average(model.score_samples(X), weights=weight))
    drawn, label = model.sample(500, random_state=0)
    assert np.mean(model.predict(drawn) == label) > 0.99
    np.testing.assert_array_equal(drawn, model.sample(500, random_state=0)[0])


def test_a_weight_is_a_repetition():
    X, _ = clusters(n=300, k=2)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    params = {"means_init": X[:2], "n_steps": (100, 100)}
    weighted = DDPMMixture(**params).fit(X, sample_weight=weight)
    np.testing.assert_allclose(weighted.means_, DDPMMixture(**params).fit(np.repeat(X, weight, axis=0)).means_)


def test_the_history():
    X, _ = clusters(k=2)
    model = DDPMMixture(n_steps=(1200, 30), tol=0, random_state=0).fit(X)
    first, second = ([r for r in model.history_ if r.stage == stage] for stage in (0, 1))
    assert (first[0].step, first[-1].step, second[0].step, second[-1].step) == (0, 1200, 0, 30)
    assert len(first) <= 602
    assert (first[0].noise_time, second[0].noise_time) == (pytest.approx(1.5), pytest.approx(0.1))
    np.testing.assert_array_equal(first[-1].means, second[0].means)
    np.testing.assert_array_equal(model.history_[-1].means, model.means_)
    assert first[0].loss > first[-1].loss
    assert model.n_iter_ == 1230
    table = pd.DataFrame([dict(record) for record in model.history_])
    assert list(table) == ["stage", "step", "noise_time", "loss", "gradient_norm", "means"]
    assert table["gradient_norm"].iloc[-1] == model.history_[-1]["gradient_norm"]
    several = DDPMMixture(noise_times=([2.0, 1.0, 0.5],), n_steps=2).fit(X)
    np.testing.assert_allclose(several.history_[0].noise_time, [2.0, 1.0, 0.5])


def test_the_loss_is_the_one_of_the_paper():
    X, _ = clusters(k=2, n=100, d=2)
    record = DDPMMixture(means_init=X[:2], noise_times=0.3, n_steps=0).fit(X).history_[0]
    rng, sigma = np.random.default_rng(0), sigma_from_ou_time(0.3)
    means, losses = np.exp(-0.3) * X[:2], []
    for _ in range(2000):
        z = rng.standard_normal(X.shape)
        x = np.exp(-0.3) * (X + sigma * z)
        share = np.exp(-0.5 * np.sum((x[:, None] - means) ** 2, axis=2))
        score = share @ means / share.sum(axis=1, keepdims=True) - x
        losses.append(np.mean(np.sum((score + z / np.sqrt(1 - np.exp(-0.6))) ** 2, axis=1)))
    assert abs(record.loss - np.mean(losses)) < 4 * np.std(losses) / np.sqrt(2000)


def test_tol_ends_a_stage_and_zero_does_not():
    X, means = clusters(k=2)
    early = DDPMMixture(means_init=means, noise_times=0.1, n_steps=400).fit(X)
    late = DDPMMixture(means_init=means, noise_times=0.1, n_steps=400, tol=0).fit(X)
    assert early.n_iter_ < 400 == late.n_iter_
    np.testing.assert_allclose(early.means_, late.means_, atol=1e-3)


def test_the_ball_holds_means_in_the_last_stage():
    X, means = clusters(k=2)
    model = DDPMMixture(projection_radius=1.0, random_state=0, **BRISK).fit(X)
    np.testing.assert_allclose(np.linalg.norm(model.means_ - X.mean(axis=0), axis=1), 1.0, rtol=1e-6)
    first = [record for record in model.history_ if record.stage == 0][-1]
    assert np.linalg.norm(first.means - X.mean(axis=0), axis=1).min() > 2  # only from the second stage on
    symmetric = DDPMMixture(symmetric=True, projection_radius=1.0, random_state=0, **BRISK).fit(X - means.mean(axis=0))
    np.testing.assert_allclose(np.linalg.norm(symmetric.means_, axis=1), 1.0, rtol=1e-6)


def test_defaults_of_one_stage():
    X, means = clusters(n=300, k=2)
    one = DDPMMixture(noise_times=0.1, means_init=means).fit(X)
    np.testing.assert_array_equal(
        one.means_, DDPMMixture(noise_times=0.1, n_steps=1500, means_init=means).fit(X).means_
    )
    params = {"noise_times": "all", "means_init": means, "n_steps": 20}
    many, scaled, plain = (
        DDPMMixture(**params, step_rule=rule).fit(X).means_ for rule in ("auto", "scaled", "gradient")
    )
    np.testing.assert_array_equal(many, scaled)
    assert np.linalg.norm(many - means) > 1.5 * np.linalg.norm(plain - means)  # twice as long for two components


def test_seeds():
    X, _ = clusters(n=200)
    one, same, other = (DDPMMixture(3, means_init="random", n_steps=3, random_state=s).fit(X).means_ for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_arrays_of_other_libraries(xp, precision):
    X, means = clusters(n=500)
    x = xp.asarray(X, dtype=getattr(xp, precision))
    for params in ({}, {"covariance": 2.0}, {"covariance": "full", "noise_times": ("all",), "n_steps": 3}):
        model = DDPMMixture(3, **({"means_init": means} | QUICK | params | {"n_steps": 5, "random_state": 0})).fit(x)
        here = clone(model).fit(X)
        tolerance = 1e-8 if precision == "float64" else 1e-3
        np.testing.assert_allclose(model.means_, here.means_, atol=tolerance)
    labels = model.predict(x)
    assert type(labels) is type(x)
    np.testing.assert_array_equal(to_numpy(labels), here.predict(X))


def test_frames_pipelines_clones_and_pickles():
    X, means = clusters()
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = DDPMMixture(3, means_init=means, **QUICK)
    again = pickle.loads(pickle.dumps(clone(model).fit(frame)))
    assert list(again.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[["b", "a", "c", "d"]])
    pipeline = make_pipeline(StandardScaler(), DDPMMixture(2, covariance=0.1, random_state=0, **BRISK)).fit(X)
    assert set(pipeline.predict(X)) == {0, 1}


def test_verbose_logs(caplog):
    X, _ = clusters(n=100, k=2)
    with caplog.at_level(logging.INFO, logger="scoremix"):
        DDPMMixture(n_steps=(100, 20), verbose=1, tol=0, random_state=0).fit(X)
    lines = [record.getMessage() for record in caplog.records]
    assert 20 <= len(lines) <= 24
    assert lines[0].startswith("stage 0, step 0: loss")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components=0"),
        ({"n_components": "auto"}, "n_components='auto'"),
        ({"n_components": 3, "symmetric": True}, "n_components=2"),
        ({"symmetric": "yes"}, "symmetric='yes'"),
        ({"exact_gradient": 2}, "exact_gradient=2"),
        ({"noise_times": ()}, "do not go together"),
        ({"noise_times": (1.5, 0.3, 0.1)}, "give a number of steps per time"),
        ({"noise_times": (0.0, 0.1)}, "noise_times=0.0"),
        ({"noise_times": (1.5, 99)}, "noise_times=99"),
        ({"noise_times": ("some", 0.1)}, "noise_times='some'"),
        ({"noise_times": ([0.1, 0.3, 0.2], 0.1)}, "in order"),
        ({"noise_times": ([0.1], 0.1)}, "several times"),
        ({"n_steps": (10, -1)}, "n_steps=-1"),
        ({"n_steps": (10, 1.5)}, "n_steps=1.5"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"means_init": "warm"}, "means_init='warm'"),
        ({"means_init": np.zeros((3, 2))}, "shape of"),
        ({"means_init": np.full((2, 4), np.nan)}, "NaN"),
        ({"weights": "some"}, "weights='some'"),
        ({"weights": [0.5, 0.6]}, "normalized"),
        ({"weights": [0.0, 1.0]}, "leave such components out"),
        ({"weights": [0.4, 0.6], "symmetric": True}, "equal"),
        ({"weights": "free", "symmetric": True}, "free"),
        ({"covariance": "tied"}, "covariance='tied'"),
        ({"covariance": -1.0}, "positive definite"),
        ({"covariance": np.nan}, "positive definite"),
        ({"covariance": np.ones((4, 4))}, "positive definite"),
        ({"covariance": np.ones(3)}, "shape"),
        ({"covariance": "full", "symmetric": True}, "does not go with"),
        ({"covariance": "diag", "step_rule": "adam"}, "does not go with"),
        ({"covariance": "full", "projection_radius": 1.0}, "does not go with"),
        ({"step_rule": "newton"}, "step_rule='newton'"),
        ({"projection_radius": 0}, "projection_radius=0"),
        ({"tol": -1}, "tol=-1"),
    ],
)
def test_wrong_parameters(params, message):
    X, _ = clusters(n=50)
    with pytest.raises(ValueError, match=message):
        DDPMMixture(**params).fit(X)


def test_wrong_data_and_a_rate_that_is_too_large():
    X, _ = clusters(n=50, k=2)
    with pytest.raises(ValueError, match="distinct rows"):
        DDPMMixture(3).fit(np.repeat(X[:2], 20, axis=0))
    with pytest.raises(ValueError, match="NaN"):
        DDPMMixture().fit(np.where(X > 5, np.nan, X))
    with pytest.raises(ValueError, match="lower the learning rate"):
        DDPMMixture(learning_rate=1e200, n_steps=(100, 100), random_state=0).fit(X)
    with pytest.raises(NotFittedError):
        DDPMMixture().predict(X)
    with pytest.raises(ValueError, match="n_samples"):
        DDPMMixture(n_steps=(1, 1)).fit(X).sample(0)


@pytest.mark.parametrize("weights", [-1, 0.5, np.float64(2)])
def test_one_number_is_no_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        DDPMMixture(2, weights=weights).fit(np.arange(20.0).reshape(10, 2))
