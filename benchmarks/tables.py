"""The tables: which problems, how many rows, which methods and metrics, how many seeds; at two sizes.

`tiny` runs the same code in seconds and is part of the tests; its numbers mean nothing.
"""

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.methods import Method
from benchmarks.methods.kde import CrossValidatedKDE
from benchmarks.methods.scoremix import Cells, Scoremix
from benchmarks.methods.sklearn_bic import SklearnBIC
from benchmarks.problems import BALLS, RING, SPIRAL, Problem, clusters, pairs, rotated

Size = Literal["tiny", "full"]

DEFAULT, SOFT, HARD = Scoremix(), Cells("soft"), Cells("hard")
BIC, KDE = SklearnBIC(), CrossValidatedKDE()


@dataclass(frozen=True)
class Case:
    """A problem at a number of rows; `axis` is where it stands in the figure."""

    problem: Problem
    n_rows: int
    axis: float | str


@dataclass(frozen=True)
class Table:
    """Cases x seeds x methods, with the metrics to compute.

    The methods after the first take part in the first `rival_seeds` seeds only.
    """

    name: str
    axis_name: str
    cases: tuple[Case, ...]
    methods: tuple[Method, ...]
    metrics: tuple[str, ...]
    n_seeds: int
    rival_seeds: int
    n_samples: int = 50_000


KL_TV = ("kl", "tv")

FULL = (
    Table(
        "rows",
        "rows n",
        tuple(Case(p, n, n) for p in (clusters(6, 2, 4), RING) for n in (1_000, 10_000, 50_000, 200_000, 1_000_000)),
        (DEFAULT, SOFT, HARD, BIC, KDE),
        KL_TV,
        n_seeds=1,
        rival_seeds=1,
    ),
    Table(
        "components",
        "clusters k",
        tuple(Case(clusters(k, 2, 5), 50_000, k) for k in (3, 6, 12, 25, 50)),
        (DEFAULT, SOFT, BIC, KDE),
        KL_TV,
        n_seeds=3,
        rival_seeds=1,
    ),
    Table(
        "dimension",
        "features d",
        tuple(Case(clusters(5, d, 4), 50_000, d) for d in (2, 5, 10, 20, 50, 100)),
        (DEFAULT, SOFT, BIC, KDE),
        KL_TV,
        n_seeds=3,
        rival_seeds=1,
    ),
    Table(
        "accuracy",
        "problem",
        (
            Case(clusters(3, 2, 4), 50_000, "3 clusters, 2-D"),
            Case(clusters(6, 2, 4), 50_000, "6 clusters, 2-D"),
            Case(clusters(4, 5, 4), 50_000, "4 clusters, 5-D"),
            Case(clusters(5, 10, 4), 50_000, "5 clusters, 10-D"),
            Case(RING, 50_000, "ring"),
            Case(SPIRAL, 50_000, "spiral"),
            Case(BALLS, 50_000, "three balls"),
        ),
        (DEFAULT, SOFT, HARD, BIC, KDE),
        KL_TV,
        n_seeds=5,
        rival_seeds=2,
    ),
    Table(
        "cells",
        "problem",
        (
            Case(clusters(3, 2, 4), 50_000, "3 clusters"),
            Case(clusters(6, 2, 4), 50_000, "6 clusters"),
            Case(clusters(100, 2, 5), 50_000, "100 clusters"),
            Case(pairs(8, 5), 20_000, "4 pairs, 5-D"),
            Case(pairs(16, 5), 20_000, "8 pairs, 5-D"),
            Case(pairs(32, 5), 20_000, "16 pairs, 5-D"),
        ),
        (DEFAULT, SOFT),
        (),
        n_seeds=20,
        rival_seeds=5,
    ),
    Table(
        "regret",
        "problem",
        tuple(Case(rotated(p, 50), 50_000, f"{p.name} in 50-D") for p in (RING, BALLS)),
        (DEFAULT, SOFT, BIC, KDE),
        ("regret",),
        n_seeds=3,
        rival_seeds=1,
    ),
)


def tables(size: Size) -> tuple[Table, ...]:
    """Return all tables; `tiny` keeps the first case of each, with few rows and one seed."""
    if size == "full":
        return FULL
    return tuple(
        replace(
            table,
            cases=tuple(replace(case, n_rows=600) for case in table.cases[:1]),
            n_seeds=1,
            rival_seeds=1,
            n_samples=400,
        )
        for table in FULL
    )
