"""What a stack will cost: the bill of measured answers, scaled to a rate of queries."""

from __future__ import annotations

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
from vsearch.search.state.fetching import reconstruct
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import Manifest, Store, read_manifest

SECONDS_A_MONTH = 30 * 24 * 3600

REQUESTS, SPREAD = 16, 768
"""Requests to measure, as single ones differ in how many shards they wake; fewer where they have more queries together."""


@dataclass(frozen=True)
class CostEstimate:
    """Dollars, by what was measured.

    Attributes
    ----------
    per_million : float
        Of a million queries.
    per_month : float
        At the given rate, all month long.
    queries_per_second : float
    concurrency : float
        Environments that are busy at that rate, all functions together.
    items : dict
        Per million queries: invocations, compute, storage.
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
    """Scale a measured bill.

    Parameters
    ----------
    bill : Bill
        Of warm answers like those to come.
    queries : int
        Queries that it was for.
    queries_per_second : float

    Raises
    ------
    InputError
    """
    if queries < 1 or not queries_per_second > 0:
        raise InputError("give at least one query and a rate above 0")
    priced = make_bill(bill.usages, prices)
    million = {name: 1e6 * dollars / queries for name, dollars in priced.dollars.items()}
    total = sum(million.values())
    return CostEstimate(
        per_million=total,
        per_month=total / 1e6 * queries_per_second * SECONDS_A_MONTH,
        queries_per_second=queries_per_second,
        concurrency=bill.usages.total.seconds / queries * queries_per_second,
        items=million,
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
    hop: float | None = None,
    byte: float | None = None,
    processors: float | None = None,
    platform: Forecast = FORECAST,
) -> tuple[Bill, int]:
    """Run a stack's roles in this process, warm and one at a time, and take their bill; see `rehearsal`.

    The time is this machine's, so the estimate is as good as this machine resembles the platform's.

    Parameters
    ----------
    queries : int
        Queries of one request. Several requests are measured, more of them where each has few queries.
    vectors : array (m, d), optional
        Queries to ask; by default rows of the index stand in for them, which are easier to answer than most queries.
    hop : float, optional
        Seconds that a caller waits for an invocation besides what the function takes, and is billed for.
    byte : float, optional
        The same for each byte of a message or reply.
    processors : float, optional
        Of each function; by default as many as the platform gives for its memory.
    platform : Forecast
        What the three are by default.

    Returns
    -------
    bill : Bill
    queries : int
        For which it is.

    Raises
    ------
    InputError
        The queries or an option are not usable.
    """
    manifest = read_manifest(store, None)
    requests = max(1, min(REQUESTS, SPREAD // queries))
    asked = _stand_ins(store, manifest, requests * queries, seed) if vectors is None else np.asarray(vectors)
    if asked.ndim != 2 or not len(asked):
        raise InputError(f"queries must have the shape (m, {manifest.dimensions}), got {asked.shape}")
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
    for number in range(requests + 1):  # the first loads what is kept
        batch = asked[(number * queries + np.arange(queries)) % len(asked)]  # starts again where it ends
        hits = index.search(batch, k, where, mode=mode)
        if hits.bill is None:
            raise InputError("the answer carries no bill")
        bills.append(hits.bill)
    return make_bill(Usages.sum(bill.usages for bill in bills[1:]), bills[0].prices), requests * queries


def _stand_ins(store: Store, manifest: Manifest, many: int, seed: int) -> NDArray[np.float32]:
    """Rows of the index as queries."""
    snapshot = open_snapshot(store, manifest)
    live = snapshot.live_rows()
    some = np.random.default_rng(seed).choice(
        manifest.rows if live is None else live, min(many, manifest.rows), replace=False
    )
    vectors: NDArray[np.float32] = reconstruct(snapshot, np.sort(some)) @ snapshot.model.quantizer.rotation
    return np.random.default_rng(seed).permutation(vectors + snapshot.model.mean)
