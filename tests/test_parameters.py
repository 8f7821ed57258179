"""Fitted parameters set by hand: what the attributes say is the model, in every method, or it is refused.

EXACT: densities of two mixtures of the same parameters differ by rounding, 1e-16 times condition numbers below 1e3.
"""

import copy
import pickle
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky
from sklearn.utils.validation import check_is_fitted

from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture, load
from scoremix.cli.summary import summary
from scoremix.samples.columns import Columns

EXACT = 1e-10
KINDS = ("full", "tied", "diag", "spherical")
FORMS = ("covariances_", "precisions_", "precisions_cholesky_")


def parameters(kind, k=3, d=2, seed=0):
    """Weights, means and covariances of a kind."""
    rng = np.random.default_rng(seed)
    root = 0.4 * rng.standard_normal((k, d, d)) + np.eye(d)
    full = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(d)
    values = {"full": full, "tied": full[0], "diag": full[:, 0] ** 2 + 0.2, "spherical": full[:, 0, 0]}[kind]
    weights = rng.uniform(1, 3, k)
    return weights / weights.sum(), 3 * rng.standard_normal((k, d)), values


def forms_of(kind, values):
    """Covariances in their three forms."""
    factor = _compute_precision_cholesky(values, kind)
    precisions = factor**2 if kind in ("diag", "spherical") else factor @ np.swapaxes(factor, -1, -2)
    return dict(zip(FORMS, (values, precisions, factor), strict=True))


def set_by_hand(model, kind, forms=FORMS, **of):
    weights, means, values = parameters(kind, **of)
    model.weights_, model.means_ = weights, means
    for form in forms:
        setattr(model, form, forms_of(kind, values)[form])
    return model


@cache
def _fit(kind):
    X, _ = GaussianMixture.from_parameters(*parameters("full", seed=5)).sample(400, random_state=0)
    return GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)


def fitted(kind="full"):
    return copy.deepcopy(_fit(kind))


POINTS = np.random.default_rng(3).normal(0, 3, (50, 2))
ASKED = {
    "score_samples": (POINTS,),
    "score": (POINTS,),
    "predict": (POINTS,),
    "predict_proba": (POINTS,),
    "score_function": (POINTS, 0.5),
    "denoise": (POINTS, np.full(50, 0.5)),
    "impute": (np.where(POINTS > 3, np.nan, POINTS),),
    "aic": (POINTS,),
    "bic": (POINTS,),
    "_n_parameters": (),
}


def assert_is(model, known):
    """Two models answer the same, whatever they are asked."""
    for method, arguments in ASKED.items():
        answers = (getattr(one, method)(*arguments) for one in (model, known))
        np.testing.assert_allclose(*answers, rtol=EXACT, atol=EXACT, err_msg=method)
    for one, other in zip(model.sample(20, random_state=1), known.sample(20, random_state=1), strict=True):
        np.testing.assert_allclose(one, other, atol=EXACT)
    np.testing.assert_allclose(model.marginal([1]).means_, known.marginal([1]).means_)
    np.testing.assert_allclose(model.conditional({0: 1.0}).weights_, known.conditional({0: 1.0}).weights_, atol=EXACT)
    np.testing.assert_allclose(model.to_sklearn().score_samples(POINTS), known.score_samples(POINTS), atol=1e-8)
    for name in ("weights_", "means_", *FORMS):
        np.testing.assert_allclose(getattr(model, name), getattr(known, name), rtol=EXACT, atol=EXACT, err_msg=name)


@pytest.mark.parametrize("start", ["fresh", "fitted", "fitted with other numbers"])
@pytest.mark.parametrize("forms", [FORMS, *[(form,) for form in FORMS]], ids=["all", *FORMS])
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_uses_what_was_set(kind, forms, start):
    of = {"k": 4 if start == "fitted with other numbers" else 3}
    model = GaussianMixture(of["k"], covariance_type=kind) if start == "fresh" else fitted(kind)
    set_by_hand(model, kind, forms, **of)
    check_is_fitted(model)
    assert (model.n_components_, model.n_features_in_) == (of["k"], 2)
    weights, means, values = parameters(kind, **of)
    for form, value in forms_of(kind, values).items():  # before the model is used
        np.testing.assert_allclose(getattr(model, form), value, rtol=EXACT, atol=EXACT)
    assert_is(model, GaussianMixture.from_parameters(weights, means, values, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_mixture_of_scikit_learn(kind):
    ours, theirs = (
        set_by_hand(model(3, covariance_type=kind), kind)
        for model in (GaussianMixture, sklearn.mixture.GaussianMixture)
    )
    for method in ("score_samples", "predict_proba", "predict", "bic"):
        np.testing.assert_allclose(getattr(ours, method)(POINTS), getattr(theirs, method)(POINTS), atol=1e-8)


@pytest.mark.parametrize("name", ["weights_", "means_", *FORMS])
@pytest.mark.parametrize("kind", KINDS)
def test_one_attribute_of_a_fit_is_changed(kind, name):
    model = fitted(kind)
    weights, means = model.weights_.copy(), model.means_.copy()
    forms = {form: getattr(model, form).copy() for form in FORMS}
    if name == "weights_":
        model.weights_ = weights = np.array([0.2, 0.3, 0.5])
    elif name == "means_":
        model.means_ = means = means + 1
    else:
        factor = {"covariances_": 4, "precisions_": 1 / 4, "precisions_cholesky_": 1 / 2}[name]
        setattr(model, name, factor * forms[name])
        forms["covariances_"] = 4 * forms["covariances_"]
    assert_is(model, GaussianMixture.from_parameters(weights, means, forms["covariances_"], kind))
    assert model.lower_bound_ == -np.inf
    assert np.isnan(model.split_gain_)
    assert model.n_iter_ > 0


def test_edits_in_place_count():
    model = fitted()
    model.score(POINTS)
    model.means_[0] += 1
    model.weights_[:] = [1, 2, 3]
    model.weights_ /= model.weights_.sum()
    model.covariances_ *= 2
    weights, means, covariances = (np.array(x) for x in (model.weights_, model.means_, model.covariances_))
    np.testing.assert_allclose(weights, [1 / 6, 2 / 6, 3 / 6])
    assert_is(model, GaussianMixture.from_parameters(weights, means, covariances))
    mine, own = covariances.copy(), model.means_
    model.covariances_ = mine
    model.score(POINTS)
    mine[0] *= 3
    own += 1  # arrays stay the ones that were set, or looked at
    assert_is(model, GaussianMixture.from_parameters(weights, means + 1, mine))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_that_was_only_looked_at_keeps_every_digit(dtype):
    X = POINTS.astype(dtype)
    model = GaussianMixture(2, random_state=0).fit(X)
    inside = model._mixture
    for name in ("weights_", "means_", *FORMS):
        assert getattr(model, name).dtype == dtype
        setattr(model, name, getattr(model, name))
    model.predict(X)
    np.testing.assert_array_equal(model._mixture.means, inside.means)
    np.testing.assert_array_equal(model._mixture.covariance.values, inside.covariance.values)


def test_lists_and_whole_numbers_are_taken():
    model = GaussianMixture(2, covariance_type="spherical")
    model.weights_, model.means_, model.covariances_ = [0.25, 0.75], [[0, 0], [5, 5]], [1, 4]
    assert_is(model, GaussianMixture.from_parameters([0.25, 0.75], [[0, 0], [5, 5]], [1, 4], "spherical"))
    assert model.precisions_.dtype == np.float64
    model.means_ = pd.DataFrame(model.means_)  # the same numbers
    assert type(model.means_) is type(model.sample(3)[0]) is np.ndarray


def test_copies_and_files(tmp_path):
    for model in (set_by_hand(GaussianMixture(3), "full"), set_by_hand(fitted(), "full", ["covariances_"])):
        known = GaussianMixture.from_parameters(*parameters("full"))
        model.save(tmp_path / "model")
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), load(tmp_path / "model")):
            assert_is(other, known)
        with pytest.raises(NotFittedError):
            clone(model).predict(POINTS)
        edited = pickle.loads(pickle.dumps(model))
        edited.means_ += 1
        np.testing.assert_allclose(edited.score_samples(POINTS + 1), known.score_samples(POINTS), atol=EXACT)


def test_a_summary_does_not_tell_of_the_fit_before():
    model = fitted()
    model.means_[0] += 1
    shown = summary(model, Columns.plain(["a", "b"]), "model").renderables
    assert "likelihood not known" in [str(line) for line in shown]
    assert "optimality not checked" in [str(line) for line in shown]


def test_learning_goes_on_from_what_was_set():
    X, _ = GaussianMixture.from_parameters(*parameters("full")).sample(600, random_state=0)
    known = GaussianMixture.from_parameters(*parameters("full"))
    for model in (GaussianMixture(3), fitted()):
        set_by_hand(model, "full").set_params(warm_start=True, tol=0.0, max_iter=1)
        expected = GaussianMixture(3, max_iter=1, tol=0.0)
        expected.set_params(**dict(zip(("weights_init", "means_init"), parameters("full"), strict=False)))
        expected.set_params(precisions_init=known.precisions_)
        with pytest.warns(match="did not converge"):
            np.testing.assert_allclose(model.fit(X).means_, expected.fit(X).means_, rtol=EXACT)
        assert model.lower_bounds_ == pytest.approx([known.score(X)], abs=EXACT)
    stream = set_by_hand(GaussianMixture(3), "full").partial_fit(X[:200])
    np.testing.assert_array_equal(stream.means_, copy.deepcopy(known).partial_fit(X[:200]).means_)
    assert stream.n_iter_ == 2


def test_a_fit_replaces_what_was_set_even_where_it_was_no_mixture():
    model = GaussianMixture(3, random_state=0)
    model.weights_, model.means_, model.covariances_ = np.ones(7), np.zeros((2, 5)), np.eye(3)
    X, _ = GaussianMixture.from_parameters(*parameters("full", seed=5)).sample(400, random_state=0)
    np.testing.assert_array_equal(model.fit(X).predict_proba(X), fitted().predict_proba(X))


@pytest.mark.parametrize("given", [(), ("weights_",), ("weights_", "means_"), ("means_", "covariances_")])
def test_some_parameters_are_no_model(given):
    model = GaussianMixture(3)
    for name, value in zip(("weights_", "means_", "covariances_"), parameters("full"), strict=True):
        if name in given:
            setattr(model, name, value)
    with pytest.raises(NotFittedError):
        model.predict(POINTS)
    for name in ("n_features_in_", "precisions_", "lower_bound_"):
        assert not hasattr(model, name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights_": [0.5, 0.5]}, r"'weights' should have the shape of \(3,\), but got \(2,\)"),
        ({"weights_": [0.5, 0.6, 0.7]}, "should be normalized"),
        ({"weights_": [-0.5, 0.6, 0.9]}, "should be in the range"),
        ({"weights_": [np.nan, 0.5, 0.5]}, "NaN"),
        ({"means_": np.zeros((4, 2))}, "should have the shape"),
        ({"means_": np.zeros(3)}, "give one row per component"),
        ({"means_": np.zeros((3, 5))}, "should have the shape"),
        ({"covariances_": np.eye(2)}, "should have the shape"),
        ({"covariances_": -np.tile(np.eye(2), (3, 1, 1))}, "positive-definite"),
        ({"covariances_": np.tile([[1.0, 0.5], [0.0, 1.0]], (3, 1, 1))}, "symmetric"),
        ({"precisions_": np.zeros((3, 2, 2))}, "positive-definite"),
        ({"precisions_cholesky_": np.zeros((3, 2, 2))}, "invertible"),
        ({"precisions_cholesky_": np.ones((3, 2))}, "should have the shape"),
        (
            {"covariances_": np.tile(np.eye(2), (3, 1, 1)), "precisions_cholesky_": np.tile(2 * np.eye(2), (3, 1, 1))},
            "covariances_ and precisions_cholesky_ contradict each other",
        ),
    ],
)
@pytest.mark.parametrize("start", ["fresh", "fitted"])
def test_what_is_no_mixture_is_refused_by_every_method(start, changes, words, tmp_path):
    model = set_by_hand(GaussianMixture(3), "full", ["covariances_"]) if start == "fresh" else fitted()
    for name, value in changes.items():
        setattr(model, name, np.array(value))
    asked = [partial(getattr(model, method), *arguments) for method, arguments in ASKED.items()]
    for ask in (*asked, model.sample, model.to_sklearn, lambda: model.save(tmp_path / "model")):
        with pytest.raises(ValueError, match=words):
            ask()


def test_the_kind_of_covariances_may_change_with_them():
    model = fitted("full")
    model.covariance_type = "diag"
    before = model.score_samples(POINTS)  # nothing was fitted, nothing set: the model stays
    np.testing.assert_array_equal(before, fitted("full").score_samples(POINTS))
    model.covariances_ = parameters("diag")[2]
    known = GaussianMixture.from_parameters(model.weights_, model.means_, parameters("diag")[2], "diag")
    assert_is(model, known)


@pytest.mark.parametrize("name", ["weights_", "means_", "covariances_"])
def test_descent_refuses_what_it_would_not_use(name):
    model = DDPMMixture(n_steps=(3, 3), random_state=0).fit(POINTS)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with pytest.raises(AttributeError, match=r"to_mixture\(\)"):
            setattr(one, name, getattr(one, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(one, name)[:] = 1
    assert model.fit(POINTS + 1).to_mixture().means_.flags.writeable


@pytest.mark.parametrize("name", ["weights_", "centers_", "noise_levels_", "ladder_", "noise_scale_"])
def test_diffusion_refuses_what_it_would_not_use(name, tmp_path):
    model = DiffusionMixture(n_levels=3, random_state=0).fit(POINTS)
    model.save(tmp_path / "model")
    for one in (model, copy.deepcopy(model), load(tmp_path / "model")):
        with pytest.raises(AttributeError, match=f"{name} of a DiffusionMixture"):
            setattr(one, name, getattr(one, name))
        if isinstance(getattr(one, name), np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                getattr(one, name)[:] = 1
    model.fit(POINTS)


def test_names_of_columns_go_with_their_number():
    X = pd.DataFrame(np.random.default_rng(0).standard_normal((50, 2)), columns=["a", "b"])
    model = GaussianMixture(2, random_state=0).fit(X)
    model.means_ = np.zeros((2, 3))
    assert not hasattr(model, "n_components_")  # until the covariances follow
    repr(model)
    model._repr_html_()
    model.covariances_ = np.tile(np.eye(3), (2, 1, 1))
    assert np.isfinite(model.score(X.assign(c=1.0).to_numpy()))
    assert model.n_features_in_ == 3


@pytest.mark.parametrize("kind", [DDPMMixture, DiffusionMixture])
def test_what_others_learn_is_refused_before_they_learn_too(kind):
    model = kind()
    with pytest.raises(AttributeError, match="to_mixture"):
        model.weights_ = np.ones(1)
    pickle.loads(pickle.dumps(model))
