"""What a stack will cost: the bill of measured answers, scaled to a rate of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from vsearch.errors import InputError
from vsearch.fanout.bill import PRICES, Bill, Prices, Usage, Usages, make_bill
from vsearch.fanout.invokers import Invoker, LocalInvoker, Names
from vsearch.fanout.mail import Mail
from vsearch.fanout.remote import RemoteIndex
from vsearch.fanout.worker import Worker
from vsearch.search.rows import reconstruct
from vsearch.search.snapshot import open_snapshot
from vsearch.storage import Store, read_manifest

SECONDS_A_MONTH = 30 * 24 * 3600

WHOLE_PROCESSOR = 1769
"""MB for which AWS Lambda gives one virtual processor; less memory has a share of one."""


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


def on_a_share(usages: Usages, memory: int) -> Usages:
    """What was used here, on a whole processor, by functions of `memory` MB: with a share of one they take longer.

    All of it is taken to be the processor's work, which is so where everything is warm.
    """
    longer = max(1.0, WHOLE_PROCESSOR / memory)

    def stretch(usage: Usage) -> Usage:
        return msgspec.structs.replace(
            usage, seconds=longer * usage.seconds, gigabyte_seconds=longer * usage.gigabyte_seconds
        )

    return Usages(stretch(usages.coordinator), stretch(usages.allocator), stretch(usages.processor))


def measure_bill(
    store: Store,
    *,
    memory: int = 1769,
    queries: int = 100,
    k: int = 10,
    where: Any = None,
    mode: str = "auto",
    seed: int = 0,
) -> tuple[Bill, int]:
    """Run a stack's roles in this process, warm, and take their bill.

    The time is this machine's, so the estimate is as good as this machine resembles the platform's; with less memory than
    a whole processor comes with, it is longer in proportion.

    Parameters
    ----------
    queries : int
        Rows of the index that stand in for queries, asked in one batch.

    Returns
    -------
    bill : Bill
    queries : int
        For which it is.
    """
    manifest = read_manifest(store, None)
    snapshot = open_snapshot(store, manifest)
    many = min(queries, manifest.rows)
    rows = np.sort(np.random.default_rng(seed).choice(manifest.rows, many, replace=False))
    vectors = reconstruct(snapshot, rows) @ snapshot.model.quantizer.rotation + snapshot.model.mean
    names = Names("cost")

    class Same:
        def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
            return local.invoke(function, payload, timeout)

    caller: Invoker = Same()
    local = LocalInvoker(
        lambda function: Worker.open(names.role(function), store, function, memory=memory, invoker=caller, names=names)
    )
    index = RemoteIndex(store.url, names, local, Mail(), manifest.snapshot)
    index.search(vectors, k, where, mode=mode)
    hits = index.search(vectors, k, where, mode=mode)
    if hits.bill is None:
        raise InputError("the answer carries no bill")
    return make_bill(on_a_share(hits.bill.usages, memory), hits.bill.prices), many
