"""The effect of changes on searches: cost and recall compared with a fresh build of the same rows, and what a refresh reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc

import vsearch
from bench import report
from bench.contest import console
from bench.data import Rows, Truth, recall
from bench.live_data import K, Result, Row, Setup, bucket, measured, open_on, search_with
from bench.live_writing import describe, large
from bench.measure import interleave, threads, time_singles
from vsearch.api.index import Index
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage.files.naming import manifest_path

STEPS = (1, 10, 30)
"""Numbers of appends after which searches are measured, in addition to the last; the first and the last are compared with a fresh build."""

WIDTHS = (1.0, 0.8, 0.9, 1.1, 1.25)
"""Multipliers of a fresh build's radius factor and error sigmas, to interpolate its cost at any recall in between."""

TOGETHER = 50
"""Number of queries between which readers take turns, so that they share whatever else the machine does."""

DELETED = 0.1
PLOT = "plots/live.png"
COLUMN, VALUE = "pos", "noun"
"""Number of rows that the model of a drifting index is trained on."""


@dataclass
class State:
    """An index at one point in time, and a fresh build of its rows with several settings: recalls and milliseconds.

    ``index`` is a separate handle, which stays on its snapshot; ``fresh`` is empty if there is no fresh build.
    """

    name: str
    index: Any
    fresh: list[Any]
    live: Rows
    truth: Truth
    recall: float = 0.0
    recalls: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    fresh_times: list[list[float]] = field(default_factory=list)

    @property
    def time(self) -> float:
        """Median milliseconds of a query."""
        return median(self.times)

    def ratios(self) -> list[float]:
        """The index's time divided by that of a fresh build at equal recall, by repetition."""
        return [
            time / self._fresh_time([fresh[turn] for fresh in self.fresh_times]) for turn, time in enumerate(self.times)
        ]

    @property
    def ratio(self) -> float:
        """Their median."""
        return median(self.ratios()) if self.fresh else nan

    def _fresh_time(self, times: Sequence[float]) -> float:
        """Milliseconds of a fresh build at the recall of the index, from those of its settings."""
        order = np.argsort(self.recalls)
        known, logs = np.array(self.recalls)[order], np.log(times)[order]
        return float(np.exp(np.interp(self.recall, known, logs)))

    @property
    def fresh_recall(self) -> float:
        """Milliseconds of a fresh build with its own settings, which come first."""
        return self.recalls[0] if self.fresh else nan

    @property
    def fresh_time(self) -> float:
        """Milliseconds of a fresh build at the recall of the index."""
        return self.time / self.ratio


class Growth:
    """An index that grows by appends and loses rows, measured at several points."""

    def __init__(self, setup: Setup, batch: int, steps: Sequence[int]) -> None:
        self.setup, self.batch, self.states = setup, batch, list[State]()
        rows = setup.collection.rows
        first = len(rows) - setup.appends * batch
        if first < len(rows) // 4:
            raise SystemExit(f"{setup.appends} appends of {batch} leave too little of {len(rows):,} rows to begin with")
        self.url = setup.built(first)
        self.index = vsearch.open(self.url)
        self.live = np.arange(first)
        self.look("0 appends", widths(vsearch.open(self.url)))
        for done in range(1, setup.appends + 1):
            start = first + (done - 1) * batch
            rows[start : start + batch].append_to(self.index)
            self.live = np.arange(start + batch)
            if done in steps:
                self.look(f"{done} appends", [])
        built = widths(vsearch.open(setup.built(len(rows)))) if steps else []
        self.look(f"{setup.appends} appends", built)
        removed = np.random.default_rng(5).permutation(self.live)[: round(DELETED * len(self.live))]
        self.index.delete(removed)
        self.live = np.setdiff1d(self.live, removed)
        fresh = widths(vsearch.open(setup.left(self.live)))
        self.look(f"and {DELETED:.0%} deleted", fresh)
        self.index.optimize()
        self.look("and optimize()", fresh)
        self.index.optimize(force=True)
        self.look("and optimize(force=True)", fresh)

    def look(self, name: str, fresh: list[Any]) -> None:
        """Keep a handle of the index in its current state, and optionally a fresh build."""
        truth = self.setup.collection.truth(self.live)
        self.states.append(State(name, vsearch.open(self.url), fresh, self.live, truth))
        console.print(f"batches of {self.batch}: {name}")

    def measure(self) -> None:
        """Measure the recall of all, then the CPU time of single queries, interleaved."""
        setup, data = self.setup, self.setup.collection.data
        singles = data.queries[: setup.timed]
        readers: dict[int, Any] = {}
        with threads(1):
            for state in self.states:
                state.recall = recall_of(setup, state.index, state)
                state.recalls = [recall_of(setup, index, state) for index in state.fresh]
                readers |= {id(index): index for index in (state.index, *state.fresh)}
            times: dict[int, list[float]] = {key: [] for key in readers}
            for chunk in np.array_split(singles, max(1, len(singles) // TOGETHER)):
                tasks = [partial(time_singles, search_with(index), chunk, K, "processor") for index in readers.values()]
                for key, timings in zip(readers, interleave(tasks, setup.repetitions), strict=True):
                    times[key] += [1e3 / timing.qps for timing in timings]
        for state in self.states:
            state.times = times[id(state.index)]
            state.fresh_times = [times[id(index)] for index in state.fresh]


def widths(index: Any) -> list[Any]:
    """Readers of an index with its own settings, and with narrower and wider ones."""
    before, made = index.snapshot, []
    for width in WIDTHS:
        settings = replace(
            before.settings,
            radius_factor=width * before.settings.radius_factor,
            error_sigmas=width * before.settings.error_sigmas,
        ).to_entry()
        made.append(Index(open_snapshot(before.store, msgspec.structs.replace(before.manifest, settings=settings))))
    return made


def recall_of(setup: Setup, index: Any, state: State) -> float:
    """Recall of all queries.

    Raises
    ------
    AssertionError
        A removed row was found, or too few rows.
    """
    data = setup.collection.data
    ids = index.search(data.queries, k=K).ids
    if not np.isin(ids, state.live).all():
        raise AssertionError(f"{state.name}: rows were found that are not in the index")
    return recall(data, ids, state.truth)


def cost(setup: Setup) -> Result:
    """CPU time of a search after appends, deletions and optimize, compared with fresh builds of the same rows."""
    lines, growths = [], []
    for batch in dict.fromkeys((setup.batch, *setup.batches)):
        growth = Growth(setup, batch, STEPS if batch == setup.batch else ())
        growth.measure()
        growths.append(growth)
        for state, limit in zip(growth.states[-3:], (1.3, 1.05, 1.05), strict=True):
            lines.append(
                Row(
                    "cost",
                    f"search after {setup.appends} appends of {batch} {state.name}",
                    f"{limit:g} times a fresh build at equal recall",
                    f"{state.ratio:.3f} times (half of the turns {np.percentile(state.ratios(), 25):.2f} to {np.percentile(state.ratios(), 75):.2f}), "
                    f"{1e3 * state.time:.0f} us at recall {state.recall:.4f}",
                    state.ratio <= limit,
                    f"{describe(setup.collection.rows[state.live], setup)}; {runs_of(state.index)}",
                )
            )
    main = growths[0]
    draw(setup, main)
    title = f"Search of an index that grows: batches of {main.batch}"
    text = [table(main), f"![cost and recall against appends]({PLOT})"]
    return Result(lines, {title: text})


def runs_of(index: Any) -> str:
    info = index.info()
    return f"runs {max(info['runs'])}, deltas {info['deltas']}, tail {info['tail_rows']:,}"


def table(growth: Growth) -> str:
    header = ["state", "rows", "runs, deltas, tail", "us", "recall@10", "fresh build, us at equal recall", "times"]
    lines = [
        [
            state.name,
            f"{len(state.live):,}",
            runs_of(state.index),
            1e3 * state.time,
            report.share(state.recall),
            1e3 * state.fresh_time,
            state.ratio,
            report.share(state.fresh_recall) if state.fresh else None,
        ]
        for state in growth.states
    ]
    return report.table([*header, "fresh build, its own recall@10"], lines)


def draw(setup: Setup, growth: Growth) -> None:
    """Two panels: microseconds and recall, by state."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    path = setup.plots / PLOT
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(10, 7.5), constrained_layout=True)
    names = [state.name for state in growth.states]
    places = range(len(names))
    live, fresh = {"color": "black", "marker": "o", "linewidth": 2.4}, {"color": "C0", "marker": "s", "linestyle": "--"}
    above.plot(places, [1e3 * state.time for state in growth.states], label="index that changes", **live)
    built = [place for place in places if growth.states[place].fresh]
    above.plot(built, [1e3 * growth.states[p].fresh_time for p in built], label="fresh build, equal recall", **fresh)
    below.plot(places, [state.recall for state in growth.states], label="index that changes", **live)
    below.plot(built, [growth.states[p].fresh_recall for p in built], label="fresh build, its own settings", **fresh)
    data = setup.collection.data
    above.set(
        title=f"{data.name}, {data.rows:,} x {data.dimensions}: appends of {growth.batch} rows, single queries, one thread",
        ylabel="processor us a query",
    )
    above.set_ylim(bottom=0)
    below.set(ylabel="recall@10")
    below.set_xticks(list(places), names, rotation=20, ha="right")
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.25)
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def recalls(setup: Setup) -> Result:
    """Recall after appends without and with drift: the model is trained on one kind of rows, and other kinds are appended."""
    rows, first = setup.collection.rows, setup.first
    index = vsearch.open(setup.built(first))
    for start in range(first, len(rows), setup.batch):
        rows[start : start + setup.batch].append_to(index)
    fresh = vsearch.open(setup.built(len(rows)))
    state = State("all rows", index, [fresh], rows.ids, setup.collection.truth(rows.ids))
    current, built = recall_of(setup, index, state), recall_of(setup, fresh, state)
    lines = [
        Row(
            "recall",
            f"{setup.appends} appends of {setup.batch} rows, no drift",
            "within 0.005 of a fresh build",
            f"{current:.4f}, fresh build {built:.4f}",
            current >= built - 0.005,
            f"{describe(rows, setup)}; default settings of each",
        )
    ]
    if COLUMN in rows.attributes.column_names:
        lines += _drifting(setup, fresh, state, built)
    return Result(lines)


def _drifting(setup: Setup, fresh: Any, state: State, built: float) -> list[Row]:
    rows = setup.collection.rows
    known = pc.fill_null(pc.equal(rows.attributes[COLUMN], VALUE), fill_value=False).to_numpy()
    index = rows[np.flatnonzero(known)].build(setup.place())
    others = np.flatnonzero(~known)
    for part in np.array_split(others, min(100, len(others))):
        rows[part].append_to(index)
    drift = index.info()["drift"]
    before = recall_of(setup, index, state)
    with measured() as spent:
        done = index.optimize()
    after, target = recall_of(setup, index, state), index.info()["settings"]["target"]
    with threads(1):
        searches = [search_with(candidate) for candidate in (index, fresh)]
        singles = setup.collection.data.queries[: setup.timed]
        tasks = [partial(time_singles, search, singles, K, "processor") for search in searches]
        ours, theirs = interleave(tasks, setup.repetitions)
    times = median(other.qps / our.qps for our, other in zip(ours, theirs, strict=True))
    return [
        Row(
            "recall",
            f"model of the rows with {COLUMN} = '{VALUE}', the other {len(others) / len(rows):.0%} appended, then optimize()",
            f"{target:g}, to which it is tuned",
            f"{before:.4f}, after optimize() {after:.4f}; fresh build {built:.4f}",
            after >= target,
            f"{describe(rows, setup)}; energy {drift['energy']:.2f}, tuned anew: {done.tuned}, {spent.processor:.1f} s; "
            f"then {times:.2f} times a fresh build's time",
        )
    ]


def refresh(setup: Setup) -> Result:
    """A reader of the large index refreshes after another process appended, and searches."""
    folder = setup.large_index()
    store = bucket(folder)
    reader, writer, more = open_on(store), vsearch.open(folder), setup.more
    reader.search(more.vectors[:1], k=K, exact=True)  # reads everything
    spent, excess = [], []
    for turn in range(21):
        added = more[turn * 100 : (turn + 1) * 100]
        added.append_to(writer)
        with measured(store) as one:
            reader.refresh()
        with (
            measured() as searched
        ):  # which builds the tail; it would read the same parts of the base without an append
            reader.search(added.vectors[:1], k=K)
        one.processor += searched.processor
        manifest = writer.snapshot.manifest
        delta = manifest.live.deltas[-1].bundle.bytes
        excess.append(one.read - delta - (folder / manifest_path(manifest.snapshot)).stat().st_size)
        spent.append(one)
        nearest = reader.search(added.vectors[:1], k=1, exact=True).ids[0, 0]
        if nearest != added.ids[0]:
            raise AssertionError(f"row {added.ids[0]} was appended, and {nearest} is found")
    processor, most = median(one.processor for one in spent[1:]), max(spent[1:], key=lambda one: one.reads + one.lists)
    return Result(
        [
            Row(
                "refresh",
                "refresh after an append of 100 rows, and the first search",
                "25 ms, 3 requests, no unchanged byte",
                f"{1e3 * processor:.1f} ms, {most.requests}, {max(0, *excess)} bytes besides the manifest and the delta",
                processor <= 0.025 and all(one.lists + one.reads <= 3 for one in spent) and max(excess) <= 0,
                f"{large(setup)}; median of {len(spent) - 1}, the most requests of them",
            )
        ]
    )
