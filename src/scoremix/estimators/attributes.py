"""Fitted attributes: all of a fit or none; what was learnt, which is read only; parameters, which may be set by hand.

An estimator is whole after every fit, also after one that failed or was interrupted: the fit before, or none
(`all_or_nothing`). A method that learns works on a draft: an estimator of its own with the same attributes. Only when
it has returned the estimator takes the draft's attributes over, all in one assignment; so other threads see one fit or
the other as well.

Attributes that tell of a model, and are not the model, cannot be changed (`LearntAttributes`).

Of a mixture the attributes are the state: what they say is the model (`ParameterAttributes`). The `Mixture` is derived
from them, and kept for as long as they are, number by number, what it was derived from; so edits in place count too. Of
the three forms of the covariances those that were set govern, and must agree; the others follow. What follows from an
attribute is forgotten when that is set, and derived when it is asked for. So nothing is ever out of date but what
follows from an edit in place, until the model is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, as_floating, as_numpy, is_foreign, like
from scoremix.estimators.mixture_inputs import (
    check_agreement,
    check_matrices,
    check_means,
    check_weights,
    covariance_from,
    shape_of,
)
from scoremix.estimators.parameters import COVARIANCE_TYPE
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture

FORMS = ("covariances_", "precisions_cholesky_", "precisions_")  # The covariances, as they may be set.

PARAMETERS = ("weights_", "means_", *FORMS)

SHAPE = ("n_components_", "n_features_in_")  # What the parameters tell by their shape.


P = ParamSpec("P")
E = TypeVar("E")


def all_or_nothing(learn: Callable[Concatenate[E, P], E]) -> Callable[Concatenate[E, P], E]:
    """Make a method that learns, and returns its estimator, leave that as it was where it raises anything."""

    @wraps(learn)
    def learn_whole(self: E, /, *args: P.args, **kwargs: P.kwargs) -> E:
        draft = object.__new__(type(self))
        vars(draft).update(vars(self))
        learn(draft, *args, **kwargs)
        self.__dict__ = vars(draft)
        return self

    return learn_whole


class LearntAttributes:
    """Base of an estimator some of whose fitted attributes can be read only."""

    _LEARNT: ClassVar[tuple[str, ...]]
    """Their names."""

    _is_sealed: bool = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_sealed and name in self._LEARNT:
            raise AttributeError(
                f"{name} of a {type(self).__name__} tells what was learnt, and setting it would change nothing else: "
                "to_mixture() gives a GaussianMixture, whose parameters may be set."
            )
        super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]  # scikit-learn's
        self._seal()  # copies of arrays can be written to

    def _seal(self) -> None:
        """Refuse changes from now on."""
        for name in self._LEARNT:
            value = vars(self).get(name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self._is_sealed = True


class NoMixtureError(ValueError, AttributeError):
    """Attributes that say no mixture, such as some of which others are still to be set.

    An AttributeError too, as scikit-learn's NotFittedError: `hasattr` and displays ask for attributes at any time.
    """


@dataclass(frozen=True)
class Held:
    """A mixture, and the values of the attributes that say it."""

    mixture: Mixture
    values: dict[str, NDArray[Any]]

    def says(self, name: str, value: Any) -> bool:
        """Tell whether an attribute has its value still."""
        now = as_numpy(value)
        return now.shape == self.values[name].shape and bool(np.array_equal(now, self.values[name]))


class ParameterAttributes:
    """Base of an estimator whose `covariance_type` and attributes `PARAMETERS` are a mixture."""

    covariance_type: str
    n_components_: int
    n_features_in_: int
    weights_: Array
    means_: Array
    covariances_: Array
    precisions_: Array
    precisions_cholesky_: Array

    _MEASURED: ClassVar[dict[str, Any]] = {}
    """Attributes that describe the fit of the present parameters, and what they are where that is not known."""

    _HISTORY: ClassVar[dict[str, Any]] = {}
    """Attributes that tell how a fit went, and what they are where there was none."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_parameter = name in PARAMETERS
        super().__setattr__(name, np.asarray(value) if is_parameter and not is_foreign(value) else value)
        by_hand = self._set_by_hand() if is_parameter else []
        if name in by_hand:
            others = [form for form in FORMS if name in FORMS and form not in by_hand]
            for follower in (*SHAPE, *self._MEASURED, *others):
                vars(self).pop(follower, None)
        if name == "means_":
            self._forget_names(self.means_.shape[-1:])

    def _set_by_hand(self) -> list[str]:
        """Parameters that are not what the present mixture was derived from."""
        attributes, held = vars(self), vars(self).get("_held")
        there = [name for name in PARAMETERS if name in attributes]
        return [name for name in there if held is None or not held.says(name, attributes[name])]

    if not TYPE_CHECKING:  # what is not declared stays an error to the type checker

        def __getattr__(self, name: str) -> Any:
            derived = ("_mixture", *FORMS, *SHAPE, *self._MEASURED, *self._HISTORY)
            if name in derived and self.__sklearn_is_fitted__():
                self._present()
                if name in vars(self):
                    return vars(self)[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are weights, means, and covariances in one form at least."""
        attributes = vars(self)
        return {"weights_", "means_"} <= attributes.keys() and any(form in attributes for form in FORMS)

    @property
    def _mixture(self) -> Mixture:
        """The mixture of the attributes, of an estimator that is fitted."""
        return self._present()

    def _present(self) -> Mixture:
        attributes, by_hand = vars(self), self._set_by_hand()
        if by_hand or not attributes.keys() >= {*PARAMETERS, *SHAPE, *self._MEASURED}:
            self._take_over(by_hand)
        held: Held = attributes["_held"]
        return held.mixture

    def _take_over(self, by_hand: Sequence[str]) -> None:
        """Derive the mixture, and what follows, from the attributes that are there."""
        attributes, kind = vars(self), self.covariance_type
        held: Held | None = attributes.get("_held")
        try:
            mixture = held.mixture if held and not by_hand else _mixture_of(attributes, by_hand, kind, held)
        except ValueError as error:
            raise NoMixtureError(f"fitted attributes that were set by hand are no mixture: {error}") from error
        unknown = {name: copy(value) for name, value in (self._MEASURED | self._HISTORY).items()}
        kept = [name for name in unknown if name in attributes and not (by_hand and name in self._MEASURED)]
        follow = set(FORMS).difference(by_hand) if set(FORMS).intersection(by_hand) else ()
        keep = [name for name in PARAMETERS if name in attributes and name not in follow]
        self._hold(mixture, as_floating(attributes["means_"]), keep)
        attributes |= {name: value for name, value in unknown.items() if name not in kept}

    def _hold(self, mixture: Mixture, home: Array, keep: Sequence[str] = ()) -> None:
        """Set the attributes of a mixture, but for some: arrays of the library, device and precision of `home`."""
        factor = mixture.covariance.precisions_cholesky()
        is_diagonal = mixture.covariance.is_diagonal
        values = {
            "weights_": mixture.weights,
            "means_": mixture.means,
            "covariances_": mixture.covariance.values,
            "precisions_cholesky_": factor,
            "precisions_": factor**2 if is_diagonal else factor @ np.swapaxes(factor, -1, -2),
        }
        attributes = vars(self)
        # Copies: attributes may be edited in place, a mixture may not.
        attributes |= {name: like(np.array(value), home) for name, value in values.items() if name not in keep}
        attributes |= {"n_components_": mixture.n_components, "n_features_in_": mixture.n_features}
        self._forget_names((mixture.n_features,))
        attributes["_held"] = Held(mixture, {name: np.array(as_numpy(attributes[name])) for name in PARAMETERS})

    def _forget_names(self, n_features: tuple[int, ...]) -> None:
        """Names of columns are those of a fit, and go with their number."""
        if np.shape(vars(self).get("feature_names_in_", ())) != n_features:
            vars(self).pop("feature_names_in_", None)


def _mixture_of(attributes: Mapping[str, Any], by_hand: Sequence[str], kind: str, held: Held | None) -> Mixture:
    """The mixture of parameters, some of which were set; unless covariances were, with those of before."""
    k, d = shape_of(attributes["means_"])
    forms = {name: attributes[name] for name in FORMS if name in by_hand}
    if forms:
        COVARIANCE_TYPE.check("covariance_type", kind)
        found = {name: covariance_from(name, value, kind, k, d) for name, value in forms.items()}
        check_agreement(found, d, max(float(np.finfo(as_floating(as_numpy(x)).dtype).eps) for x in forms.values()))
        covariance = next(iter(found.values()))
    else:
        assert held is not None  # without one, all that is there was set
        kind, values = held.mixture.covariance.kind, held.mixture.covariance.values
        covariance = covariance_of(kind, check_matrices("covariance", values, kind, k, d), d)
    weights, means = check_weights(attributes["weights_"], k), check_means(attributes["means_"], k, d)
    return Mixture(weights, means, covariance)
