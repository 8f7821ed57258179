"""An estimator is whole after every fit, also after one that failed or was interrupted: the fit before, or none.

A method that learns works on a draft: an estimator of its own with the same attributes. Only when it has returned the
estimator takes the draft's attributes over, all in one assignment; so other threads see one fit or the other as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

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
