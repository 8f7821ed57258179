"""Fitted attributes that tell of a model, and are not the model: to change them is refused."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np


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
