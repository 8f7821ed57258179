"""The public names: a promise, so any change of them is made here too, and there are few."""

import importlib
import inspect
import types

import pytest

PUBLIC = {
    "scoremix": {"DDPMMixture", "DiffusionMixture", "GaussianMixture", "load"},
    "scoremix.sampling": {"ancestral", "dpm", "log_density", "probability_flow", "reverse_sde"},
    "scoremix.evaluation": {
        "histogram_total_variation",
        "kl_bound",
        "make_balls",
        "make_gaussian_mixture",
        "make_manifold",
        "make_pairs",
        "make_ring",
        "make_spiral",
        "parameter_error",
        "posterior_regret",
        "score_error",
        "total_variation",
    },
}

DIFFUSION_MIXTURE = {
    "certificate",
    "degrees_",
    "denoise",
    "fit",
    "fit_predict",
    "get_metadata_routing",
    "get_params",
    "n_cells_per_level_",
    "n_components_",
    "posterior_mean",
    "predict",
    "predict_proba",
    "sample",
    "save",
    "score",
    "score_function",
    "score_samples",
    "set_fit_request",
    "set_params",
    "set_score_request",
    "to_mixture",
}

GAUSSIAN_MIXTURE = {
    "aic",
    "bic",
    "conditional",
    "denoise",
    "fit",
    "fit_predict",
    "from_parameters",
    "get_metadata_routing",
    "get_params",
    "impute",
    "marginal",
    "partial_fit",
    "predict",
    "predict_proba",
    "sample",
    "save",
    "score",
    "score_function",
    "score_samples",
    "set_fit_request",
    "set_params",
    "set_partial_fit_request",
    "set_score_request",
    "to_sklearn",
}


DDPM_MIXTURE = {
    "denoise",
    "fit",
    "get_metadata_routing",
    "get_params",
    "predict",
    "predict_proba",
    "sample",
    "save",
    "score",
    "score_function",
    "score_samples",
    "set_fit_request",
    "set_params",
    "set_score_request",
    "to_mixture",
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    assert len(module.__all__) == len(PUBLIC[package])  # none twice
    assert list(module.__all__) == sorted(module.__all__)


@pytest.mark.parametrize("package", PUBLIC)
def test_nothing_else_looks_public(package):
    module = importlib.import_module(package)
    names = {*vars(module), *dir(module)}
    visible = {
        name for name in names if not name.startswith("_") and not isinstance(getattr(module, name), types.ModuleType)
    }
    assert visible == PUBLIC[package]


def test_there_are_few():
    assert sum(map(len, PUBLIC.values())) <= 30


@pytest.mark.parametrize(
    ("estimator", "members"),
    [
        ("DiffusionMixture", DIFFUSION_MIXTURE),
        ("GaussianMixture", GAUSSIAN_MIXTURE),
        ("DDPMMixture", DDPM_MIXTURE),
    ],
)
def test_methods_of_the_estimators(estimator, members):
    value = getattr(importlib.import_module("scoremix"), estimator)
    assert {name for name, _ in inspect.getmembers(value) if not name.startswith("_")} == members


def test_version_is_that_of_the_package():
    import scoremix

    assert scoremix.__version__.count(".") == 2
    assert all(part.isdigit() for part in scoremix.__version__.split("."))
