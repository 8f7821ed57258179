"""Whatever is done to an estimator, in whatever order: it is one fit whole, or says that it is none.

A machine of hypothesis does it: fits, fits that fail, are interrupted or run in two threads, batches of a stream,
other parameters, files, copies. What a fit says is compared with that of a fresh estimator on the same data.
`pytest --hypothesis-profile thorough` tries a hundred times as many examples.
"""

import pickle
import tempfile
import threading
import warnings
from copy import deepcopy
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture, load
from scoremix.samples import reduce

RNG = np.random.default_rng(0)
DATA = [
    np.concatenate([RNG.normal(-4, 1, (20, 2)), RNG.normal(4, 1, (30, 2))]),
    np.concatenate([RNG.normal(0, 1, (25, 2)), RNG.normal(9, 1, (15, 2))]).astype(np.float32),
    np.concatenate([RNG.normal(-5, 1, (20, 3)), RNG.normal(5, 1, (20, 3))]),
    np.concatenate([RNG.normal(-5, 1, (20, 1)), RNG.normal(5, 1, (20, 1))]),
]
X = DATA[0]
BAD = {
    "a vector": (X[:, 0], None),
    "text": ([["a", "b"], ["c", "d"]], None),
    "no rows": (X[:0], None),
    "one row": (X[:1], None),
    "NaN": (np.where(X > 4, np.nan, X), None),
    "infinite": (np.where(X > 4, np.inf, X), None),
    "without squares": (X * 1e155, None),
    "too few weights": (X, np.ones(3)),
    "negative weights": (X, -np.ones(len(X))),
    "NaN weights": (X, np.full(len(X), np.nan)),
    "no weight": (X, np.zeros(len(X))),
    "one weight": (X, np.eye(len(X))[0]),
}


def attributes(model):
    """Everything that a fit left behind, by name; in a form that says whether it is the same."""
    names = [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]
    return {name: plain(getattr(model, name)) for name in sorted(names)}


def plain(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value) if isinstance(value, int | float | str | None) else pickle.dumps(value)


def answers(model, x):
    """What a model says about samples, bit by bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # far points
        said = (
            model.predict(x),
            model.predict_proba(x),
            model.score_samples(x),
            model.score_function(x, 0.5),
            model.denoise(x, 0.5),
        )
    return [plain(np.asarray(one)) for one in said]


def quietly(learn, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return learn(*args)


class Life(RuleBasedStateMachine):
    """The life of an estimator; `make` and what may be set are of a subclass."""

    make: ClassVar
    choices: ClassVar[dict]

    def __init__(self):
        super().__init__()
        self.model = self.make()
        self.of = None  # number of columns of the fit, and all that it says

    def keep(self, fresh, columns):
        """What the model must be from now on."""
        self.of = columns, attributes(fresh), answers(fresh, self.points(columns))

    @staticmethod
    def points(columns):
        return np.linspace(-6, 6, 5 * columns).reshape(5, columns)

    @invariant()
    def is_whole(self):
        if self.of is None:
            assert not attributes(self.model)
            with pytest.raises(NotFittedError):
                self.model.predict(X)
            return
        columns, held, said = self.of
        assert self.model.n_features_in_ == columns
        assert attributes(self.model) == held
        assert answers(self.model, self.points(columns)) == said

    @rule(number=st.integers(0, len(DATA) - 1), weighted=st.booleans())
    def fit(self, number, weighted):
        x = DATA[number]
        weight = np.linspace(0, 3, len(x)) if weighted else None
        quietly(self.model.fit, x, None, weight)
        self.keep(quietly(clone(self.model).fit, x, None, weight), x.shape[1])

    @rule(what=st.sampled_from(sorted(BAD)))
    def fit_that_fails(self, what):
        with pytest.raises(ValueError, match=r"."):
            quietly(self.model.fit, BAD[what][0], None, BAD[what][1])

    @rule(number=st.integers(0, len(DATA) - 1), passes=st.integers(0, 40))
    def fit_that_is_interrupted(self, number, passes):
        mapped, left = reduce._mapped, iter(range(passes))

        def interrupted(*args):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return mapped(*args)

        try:
            with patch.object(reduce, "_mapped", interrupted):
                quietly(self.model.fit, DATA[number])
        except KeyboardInterrupt:
            return
        self.keep(quietly(clone(self.model).fit, DATA[number]), DATA[number].shape[1])

    @rule(numbers=st.lists(st.integers(0, len(DATA) - 1), min_size=2, max_size=2))
    def fits_in_two_threads(self, numbers):
        threads = [threading.Thread(target=quietly, args=(self.model.fit, DATA[number])) for number in numbers]
        with warnings.catch_warnings():  # of the process, not of a thread
            warnings.simplefilter("ignore", ConvergenceWarning)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        found = attributes(self.model)
        fresh = [quietly(clone(self.model).fit, DATA[number]) for number in numbers]
        (last, *_), number = zip(
            *[(one, number) for one, number in zip(fresh, numbers, strict=True) if attributes(one) == found],
            strict=True,
        )
        self.keep(last, DATA[number[0]].shape[1])

    @precondition(lambda self: self.of is not None)
    @rule(number=st.integers(0, 1))
    def asked_while_it_is_fitted(self, number):
        if self.of[0] != 2:
            return
        before, said, stop = self.of[2], [], threading.Event()

        def ask():
            while not stop.is_set():
                said.append(plain(np.asarray(self.model.score_samples(self.points(2)))))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            self.fit(number, False)
        finally:
            stop.set()
            thread.join()
        assert set(said) <= {before[2], self.of[2][2]}

    @rule(data=st.data())
    def set_params(self, data):
        name = data.draw(st.sampled_from(sorted(self.choices)))
        self.model.set_params(**{name: data.draw(st.sampled_from(self.choices[name]))})

    @rule(data=st.data())
    def set_what_is_refused(self, data):
        name = data.draw(st.sampled_from(sorted(self.choices)))
        value = getattr(self.model, name)
        self.model.set_params(**{name: data.draw(st.sampled_from([-1, "none"]))})
        with pytest.raises(ValueError, match=r"."):
            quietly(self.model.fit, X)
        self.model.set_params(**{name: value})

    @rule()
    def cloned(self):
        with pytest.raises(NotFittedError):
            clone(self.model).predict(X)

    @rule()
    def copied(self):
        self.model = deepcopy(self.model)

    @rule()
    def pickled(self):
        self.model = pickle.loads(pickle.dumps(self.model))

    @rule()
    def saved_and_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            if self.of is None:
                with pytest.raises(NotFittedError):
                    self.model.save(path)
                assert not path.exists()
                return
            self.model.save(path)
            columns, _, said = self.of
            assert answers(load(path), self.points(columns)) == said


class LifeOfStreams(Life):
    """Estimators that learn from batches, too."""

    @rule(number=st.integers(0, len(DATA) - 1), rows=st.integers(1, 40))
    def partial_fit(self, number, rows):
        batch, other = DATA[number][:rows], deepcopy(self.model)
        try:
            quietly(self.model.partial_fit, batch)
        except ValueError:
            with pytest.raises(ValueError, match=r"."):
                quietly(other.partial_fit, batch)
            return
        assert self.of is None or self.of[0] == batch.shape[1]
        self.keep(quietly(other.partial_fit, batch), batch.shape[1])


class LifeOfGaussianMixture(LifeOfStreams):
    choices: ClassVar = {
        "n_components": [1, 2, 3],
        "covariance_type": ["full", "tied", "diag", "spherical"],
        "init_params": ["global", "kmeans", "random"],
    }

    def make(self):
        return GaussianMixture(2, max_iter=10, random_state=0)


class LifeOfDDPMMixture(Life):
    choices: ClassVar = {"n_components": [1, 2, 3], "covariance": [1.0, "identity"], "weights": ["equal", "free"]}

    def make(self):
        return DDPMMixture(2, step_rule="scaled", learning_rate=0.5, n_steps=10, random_state=0)


class LifeOfDiffusionMixture(Life):
    choices: ClassVar = {"n_levels": [2, 3], "correction_of": ["mixture", "nothing"]}

    def make(self):
        return DiffusionMixture(n_levels=2, random_state=0)


def live(machine, share, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=max(2, settings.default.max_examples // share), stateful_step_count=steps),
    )


@pytest.mark.parametrize(
    ("machine", "share"), [(LifeOfGaussianMixture, 8), (LifeOfDDPMMixture, 20), (LifeOfDiffusionMixture, 40)]
)
def test_a_short_life(machine, share):
    live(machine, share, steps=6)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [LifeOfGaussianMixture, LifeOfDDPMMixture, LifeOfDiffusionMixture])
def test_a_long_life(machine):
    live(machine, 2, steps=10)
