"""Parameters of constructors: a table has every one of them, and knows numbers, words and truth values apart."""

import numpy as np
import pytest

from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture
from scoremix.estimators.parameters import DDPM_MIXTURE, DIFFUSION_MIXTURE, FLAG, GAUSSIAN_MIXTURE, Choice, Number

# Those that are checked against the data, or together.
ELSEWHERE = {
    DiffusionMixture: {"rank", "random_state"},
    GaussianMixture: {"weights_init", "means_init", "precisions_init", "missing_values", "random_state"},
    DDPMMixture: {"noise_times", "n_steps", "random_state"},
}


@pytest.mark.parametrize(
    ("estimator", "table"),
    [(DiffusionMixture, DIFFUSION_MIXTURE), (GaussianMixture, GAUSSIAN_MIXTURE), (DDPMMixture, DDPM_MIXTURE)],
)
def test_a_table_has_every_parameter_and_lets_its_default_through(estimator, table):
    params = estimator().get_params()
    assert sorted([*table, *ELSEWHERE[estimator]]) == sorted(params)
    for name, rule in table.items():
        rule.check(name, params[name])


@pytest.mark.parametrize(
    ("rule", "fine", "refused"),
    [
        (Number(), (0, -1.5, np.float32(2)), (True, np.True_, None, "1", np.inf, np.nan, 1j, [1.0])),
        (Number(at_least=1, integer=True, words=("auto",)), (1, np.int8(3), "auto", np.str_("auto")), (0, 1.0, "Auto")),
        (Number(above=0, below=1), (0.5,), (0, 1)),
        (Number(at_least=0, words=(None, True)), (0, None, np.True_), (False, -1)),
        (FLAG, (True, np.False_), (1, 0, "True", None)),
        (Choice(("full", "tied")), ("full", np.str_("tied")), ("round", None, ["full"], np.array(["full", "tied"]))),
        (Choice(("full",), may_be_none=True), (None,), (False,)),
        (Choice(("equal",), or_data=True), (1.0, [0.5], np.eye(2)), ("free",)),
    ],
)
def test_values_are_let_through_or_refused(rule, fine, refused):
    for value in fine:
        rule.check("name", value)
    for value in refused:
        with pytest.raises(ValueError, match=r"^name=.* (out of range|not known): (give|choose) "):
            rule.check("name", value)
