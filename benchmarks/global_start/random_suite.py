"""The suite of random configurations: a seed gives the configuration, its law and its rows, the same everywhere.

Seeds 0 to 299 are the first suite, on which the method was developed; 1000 to 1299 the second, drawn afterwards.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from benchmarks.drawing import BLUE, LIGHT_BLUE, SAND, bars, legend, panels
from benchmarks.frame import Benchmark, Size
from benchmarks.global_start.comparison import FEW, HELD_OUT, Problem, compare
from benchmarks.global_start.counts import WORSE, difference, differences, key, seconds_ratio, share, total_seconds
from benchmarks.global_start.laws import Law, equal, typically_apart, zipf
from benchmarks.global_start.methods import GLOBAL, ONE, PLUS_PLUS, SCALED, TEN
from benchmarks.global_start.peers import PEERS
from benchmarks.methods import Method
from benchmarks.tables import Row, Rows, Table, groups, of, table, values_of
from benchmarks.targets import Aim, at_least, at_most

FIRST, SECOND = range(300), range(1000, 1300)

PEER_SEEDS = 100
"""Of the first suite, those that the slow peers take part in."""

LAYOUTS = ("random", "uniform", "hierarchical")
KINDS = ("spherical", "diag", "full")


@dataclass(frozen=True)
class Configuration:
    """What a law and its number of rows are made of: k components in d dimensions, n rows.

    The layout tells whether means are normal, uniform in a cube, or normal about far fewer centres, which are normal
    six times as wide. The separation is the median distance of a mean from its nearest neighbour, where typical
    standard deviations are one; the condition the ratio of the largest to the smallest possible variance. With `zipf`
    weights are proportional to 1, 1/2, 1/3, ... instead of equal. The covariance is that of the law and of the fits.
    """

    layout: str
    covariance: str
    k: int
    d: int
    separation: float
    zipf: bool
    condition: float
    n: int
    seed: int


def configuration(seed: int) -> Configuration:
    """Draw a configuration; the order of the draws is part of the definition."""
    rng = np.random.default_rng([7, seed])
    return Configuration(
        layout=str(rng.choice(LAYOUTS)),
        covariance=str(rng.choice(KINDS)),
        k=int(np.round(np.exp(rng.uniform(np.log(3), np.log(50))))),
        d=int(np.round(np.exp(rng.uniform(np.log(2), np.log(32))))),
        separation=float(rng.uniform(2.5, 7)),
        zipf=bool(rng.random() < 0.5),
        condition=float(rng.uniform(1, 4)),
        n=int(np.exp(rng.uniform(np.log(1e3), np.log(4e4)))),
        seed=seed,
    )


def law_of(chosen: Configuration) -> Law:
    """Draw the law of a configuration."""
    rng = np.random.default_rng([8, chosen.seed])
    k, d = chosen.k, chosen.d
    z = rng.uniform(-1, 1, (k, d)) * 1.7 if chosen.layout == "uniform" else rng.standard_normal((k, d))
    if chosen.layout == "hierarchical":
        centres = max(2, int(np.sqrt(k)))
        z = (rng.standard_normal((centres, d)) * 6)[np.arange(k) % centres] + z
    covariances, spread = np.empty((k, d, d)), np.log(chosen.condition)
    for i in range(k):
        size = None if chosen.covariance == "spherical" else d
        values = np.exp(np.full(d, rng.uniform(-0.5, 0.5, size) * spread))
        axes = np.linalg.qr(rng.standard_normal((d, d)))[0] if chosen.covariance == "full" else np.eye(d)
        covariances[i] = (axes * values) @ axes.T
    return Law(zipf(k) if chosen.zipf else equal(k), typically_apart(z, chosen.separation), covariances)


def configured(chosen: Configuration, methods: tuple[Method, ...], held_out: int = HELD_OUT) -> Iterator[Row]:
    """All methods on the law of a configuration."""
    for row in compare(Problem(law_of(chosen), chosen.covariance, chosen.n, chosen.seed, held_out), methods):
        yield asdict(chosen) | row


def random(suite: str, seed: int, tiny: bool) -> Iterator[Row]:
    """A random configuration."""
    chosen, methods = configuration(seed), (GLOBAL, ONE, TEN, PLUS_PLUS, SCALED)
    if suite == "first" and seed % len(FIRST) < PEER_SEEDS:
        methods += tuple(peer for peer in PEERS if peer.missing is None)
    if tiny:
        chosen = replace(chosen, k=min(chosen.k, 3), d=min(chosen.d, 2), n=300)
    yield from configured(chosen, methods, FEW if tiny else HELD_OUT)


def random_figure(rows: Rows) -> Figure:
    """success and time on the random configurations"""
    methods, suites = values_of(rows, "method"), values_of(rows, "suite")
    figure, axes = panels(2, 9, 1.4 + 0.5 * len(methods), lines=False, sharey=True)
    drawn: list[dict[str, list[float | None]]] = [{}, {}]
    for suite in suites:
        parts = [(of(rows, suite=suite), method) for method in methods]
        given = [(mine, method) if of(mine, method=method) else None for mine, method in parts]
        drawn[0][suite] = [part and 100 * share(of(part[0], method=part[1])) for part in given]
        drawn[1][suite] = [part and seconds_ratio(*part, ONE.name) for part in given]
    labels = ("success, %", "CPU time, times one start of scikit-learn")
    for panel, lengths, label, best in zip(axes, drawn, labels, (100, 1), strict=True):
        bars(panel, methods, lengths, dict(zip(suites, (BLUE, LIGHT_BLUE), strict=False)))
        panel.set_xlabel(label)
        panel.axvline(best, color="0.3", lw=0.8)
    axes[1].invert_yaxis()  # both panels share the axis, which was turned round twice
    legend(figure, axes[0], name="{} suite")
    return figure


BOUND = 1.0
"""Nats beyond which the figure of differences does not tell how many."""


def difference_figure(rows: Rows) -> Figure:
    """held-out likelihood beyond ten starts of scikit-learn, problems sorted by it"""
    figure, (axes,) = panels(1, 7, 3.8)
    for method, colour in ((GLOBAL.name, BLUE), (ONE.name, SAND)):
        gaps = np.clip(sorted(differences(rows, method, TEN.name).values()), -BOUND, BOUND)
        axes.plot(100 * (np.arange(len(gaps)) + 0.5) / max(1, len(gaps)), gaps, color=colour, label=method)
    axes.axhline(0, color="0.3", lw=0.8)
    axes.axhspan(-WORSE, WORSE, color="0.9", zorder=0)
    axes.set_yscale("symlog", linthresh=WORSE)
    axes.set(xlabel="problems, %", ylabel="held-out nats per row\nbeyond ten starts")
    axes.set(xlim=(0, 100), ylim=(-BOUND, BOUND))
    axes.legend(frameon=False)
    return figure


def random_table(rows: Rows) -> Table:
    """Random configurations."""
    shown = []
    for fits in groups(rows, "suite", "method"):
        mine, method = of(rows, suite=fits[0]["suite"]), fits[0]["method"]
        gaps = differences(mine, method, TEN.name).values()
        better, worse = (sum(sign * gap > WORSE for gap in gaps) if method != TEN.name else "-" for sign in (1, -1))
        row = {"better": better, "worse": worse, "seconds": total_seconds(fits), "problems": len(fits)}
        shown.append(fits[0] | row | {"success": share(fits), "ratio": seconds_ratio(mine, method, ONE.name)})
    head = "suite | method | problems | success | better than 10 starts | worse | CPU s | times one start"
    line = "{suite} | {method} | {problems} | {success.percent:.1f} % | {better} | {worse} | {seconds:.1f}"
    return table(shown, None, head, f"{line} | {{ratio:.2f}}")


def losses_table(rows: Rows) -> Table:
    """Random configurations that the global start loses."""
    gaps, ten = differences(rows, GLOBAL.name, TEN.name), {key(row): row for row in of(rows, method=TEN.name)}
    shown = []
    for row in of(rows, method=GLOBAL.name):
        other, gap = ten.get(key(row)), gaps.get(key(row), float("nan"))
        if not row["success"] or gap < -WORSE:
            outcomes = ["yes" if fit and fit["success"] else "no" for fit in (row, other)]
            below = difference(row["held_out"], row["oracle"])
            shown.append(row | {"tail": ", Zipf" * row["zipf"], "below": below, "gap": gap, "outcomes": outcomes})
    head = "suite | seed | problem | separation | against the truth's | against 10 starts | success | of 10 starts"
    law = "{layout}, {covariance}, k = {k}, d = {d}, n = {n:,} | {separation:.1f}{tail}"
    outcomes = "{outcomes.first[0]} | {outcomes.first[1]}"
    return table(shown, None, head, f"{{suite}} | {{seed}} | {law} | {{below:+.4f}} | {{gap:+.4f}} | {outcomes}")


def time_aim(where: str, rows: Rows, method: str, rival: str, most: float) -> Aim:
    """Total CPU time against a rival's."""
    return at_most(
        f"{where}: CPU time at most {most:g} times that of {rival}", seconds_ratio(rows, method, rival), most
    )


def random_aims(rows: Rows) -> Iterator[Aim]:
    """Success, likelihood and time, suite by suite."""
    for suite in values_of(rows, "suite"):
        mine = of(rows, suite=suite)
        yield at_least(f"{suite} suite: success at least 98 %", share(of(mine, method=GLOBAL.name)), 0.98, ".1%")
        gaps = differences(mine, GLOBAL.name, TEN.name).values()
        worse = fmean(gap < -WORSE for gap in gaps) if gaps else float("nan")
        sentence = f"{suite} suite: worse than {TEN.name} by more than {WORSE:g} nats in at most 5 %"
        yield at_most(sentence, worse, 0.05, ".1%")
        for rival, most in ((TEN.name, 0.2), (ONE.name, 1.5)):
            yield time_aim(f"{suite} suite", mine, GLOBAL.name, rival, most)


SUITES = {"first": FIRST, "second": SECOND}

RANDOM = Benchmark(
    random,
    Size([{"suite": suite, "seed": seed} for suite, seeds in SUITES.items() for seed in seeds], tiny=False),
    Size([{"suite": suite, "seed": seed} for suite, seeds in SUITES.items() for seed in seeds[:2]], tiny=True),
    [random_table, losses_table],
    {"random": random_figure, "difference": difference_figure},
    random_aims,
    peers=PEERS,
)
