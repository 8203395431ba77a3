"""Cost estimates for a stack: the bill of measured answers, scaled to a query rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.api.remote_index import RemoteIndex
from vsearch.deploy.rehearsal import Conditions, Rehearsal
from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Bill, Prices, Usages, make_bill
from vsearch.fanout.calls.invoker import Invoker, Names
from vsearch.fanout.platforms.aws_lambda import FORECAST, PRICES
from vsearch.fanout.platforms.platform import Forecast
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.search.state.expiry import present
from vsearch.search.state.fetching import reconstruct
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import Manifest, Store, read_manifest

SECONDS_A_MONTH = 30 * 24 * 3600

REQUESTS, SPREAD = 16, 768
"""Number of requests to measure, since single requests differ in how many shards they call; fewer if each has many queries."""


@dataclass(frozen=True)
class CostEstimate:
    """Cost in dollars, extrapolated from measurements.

    Attributes
    ----------
    per_million : float
        Dollars per million queries.
    per_month : float
        Dollars per month at the given rate.
    queries_per_second : float
    concurrency : float
        Busy environments at that rate, over all functions.
    items : dict
        Dollars per million queries for invocations, compute and storage.
    """

    per_million: float
    per_month: float
    queries_per_second: float
    concurrency: float
    items: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def estimate_cost(
    bill: Bill, queries: int, queries_per_second: float, prices: Prices = PRICES["x86_64"]
) -> CostEstimate:
    """Scale a measured bill to a query rate.

    Parameters
    ----------
    bill : Bill
        The bill of warm answers to typical queries.
    queries : int
        Number of queries that the bill covers.
    queries_per_second : float

    Raises
    ------
    InputError
        `queries` is below 1, or `queries_per_second` is not above 0.
    """
    if queries < 1 or not queries_per_second > 0:
        raise InputError(
            f"queries must be at least 1 and queries_per_second above 0, got {queries} and {queries_per_second}"
        )
    priced = make_bill(bill.usages, prices)
    per_million = {name: 1e6 * dollars / queries for name, dollars in priced.dollars.items()}
    total = sum(per_million.values())
    return CostEstimate(
        per_million=total,
        per_month=total / 1e6 * queries_per_second * SECONDS_A_MONTH,
        queries_per_second=queries_per_second,
        concurrency=bill.usages.total.seconds / queries * queries_per_second,
        items=per_million,
    )


def measure_bill(
    store: Store,
    *,
    memory: int = 1769,
    queries: int = 100,
    k: int = 10,
    where: Any = None,
    mode: str = "auto",
    seed: int = 0,
    vectors: Any = None,
    words: Sequence[str] = (),
    hop: float | None = None,
    byte: float | None = None,
    processors: float | None = None,
    platform: Forecast = FORECAST,
) -> tuple[Bill, int]:
    """Run a stack's roles in this process, warm and one at a time, and return their bill; see `rehearsal`.

    Times are measured on this machine, so the estimate is only as accurate as this machine is similar to the platform's.

    Parameters
    ----------
    queries : int
        Queries per request. Several requests are measured; more of them if each has fewer queries.
    vectors : array (m, d), optional
        Queries to measure with; by default rows of the index, which are easier to answer than most queries.
    words : sequence of str
        Text queries that are searched together with the vectors, in turn; by default none.
    hop : float, optional
        Seconds that a caller waits, and is billed, for an invocation on top of the function's own time.
    byte : float, optional
        The same per byte of a message or reply.
    processors : float, optional
        Processors per function; by default as many as the platform provides for its memory.
    platform : Forecast
        Defaults for the three options above.

    Returns
    -------
    bill : Bill
    queries : int
        Number of queries that the bill covers.

    Raises
    ------
    InputError
        The queries or an option are invalid.
    """
    manifest = read_manifest(store, None)
    requests = max(1, min(REQUESTS, SPREAD // queries))
    query_vectors = stand_ins(store, manifest, requests * queries, seed) if vectors is None else np.asarray(vectors)
    if query_vectors.ndim != 2 or not len(query_vectors):
        raise InputError(f"queries must have the shape (m, {manifest.dimensions}), got {query_vectors.shape}")
    names = Names("cost")

    def open_worker(function: str, caller: Invoker) -> Worker:
        return Worker.open(names.role(function), store, function, memory=memory, invoker=caller, names=names)

    conditions = Conditions(
        memory,
        hop=platform.hop if hop is None else hop,
        byte=platform.byte if byte is None else byte,
        processors=memory / platform.whole_processor if processors is None else processors,
    )
    rehearsal = Rehearsal(open_worker, names, conditions)
    index = RemoteIndex(store.url, names, rehearsal, Envelope(), manifest.snapshot)
    bills: list[Bill] = []
    for number in range(requests + 1):  # the first request fills caches
        batch = query_vectors[
            (number * queries + np.arange(queries)) % len(query_vectors)
        ]  # cycles through the queries
        text = None
        if words:
            text = [words[(number * queries + place) % len(words)] for place in range(queries)]
        hits = index.search(batch, k, where, mode=mode, text=text)
        if hits.bill is None:
            raise InputError("the answer has no bill")
        bills.append(hits.bill)
    return make_bill(Usages.sum(bill.usages for bill in bills[1:]), bills[0].prices), requests * queries


def stand_ins(store: Store, manifest: Manifest, count: int, seed: int) -> NDArray[np.float32]:
    """Draw rows of the index, in random order; all of them if there are fewer.

    Returns
    -------
    float32 (count, dimensions)
    """
    snapshot = present(open_snapshot(store, manifest))
    live = snapshot.live_rows()
    rows = np.random.default_rng(seed).choice(
        snapshot.rows if live is None else live, min(count, snapshot.live_count), replace=False
    )
    vectors: NDArray[np.float32] = snapshot.model.original(reconstruct(snapshot, np.sort(rows)))
    return np.random.default_rng(seed).permutation(vectors + snapshot.model.mean)
