"""Cost estimates for changes through a stack: the writer and the keeper run on this machine, on a copy of the index."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import numpy as np

from vsearch.deploy.cost import SECONDS_A_MONTH, stand_ins
from vsearch.deploy.rehearsal import platform_seconds
from vsearch.errors import ConflictError, InputError
from vsearch.fanout.calls.bill import Prices, Usage, Usages, make_bill
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.aws_lambda import FORECAST, PRICES
from vsearch.fanout.platforms.platform import Forecast
from vsearch.fanout.roles.keeper import keep
from vsearch.fanout.roles.worker import Worker, serve
from vsearch.fanout.roles.writer import Writer
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.change_messages import Committed, KeepRequest, Kept, WriteRequest
from vsearch.storage import open_store, read_manifest

if TYPE_CHECKING:
    from vsearch.storage import Store
    from vsearch.storage.stores.base import ObjectInfo

WRITES = 9
"""Number of measured appends; the first, by a cold writer, does not count."""

LARGEST_ID = 2**62


class OverlayStore:
    """A store whose changes are kept in memory, over one that is only read.

    Parameters
    ----------
    below : Store
    """

    def __init__(self, below: Store) -> None:
        self._below, self._above = below, open_store(f"memory://overlay-{uuid4().hex}/index")
        self._written: set[str] = set()
        self._deleted: set[str] = set()

    @property
    def url(self) -> str:
        """The location of the store below."""
        return self._below.url

    def _holder(self, path: str) -> Store:
        if path in self._deleted:
            raise FileNotFoundError(path)
        return self._above if path in self._written else self._below

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """See `Store.get`."""
        return self._holder(path).get(path, start=start, stop=stop)

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """See `Store.get_ranges`."""
        return self._holder(path).get_ranges(path, starts, stops)

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: Any) -> tuple[int, int] | None:
        """See `Store.read_into`."""
        return self._holder(path).read_into(path, starts, stops, out)

    def head(self, path: str) -> ObjectInfo:
        """See `Store.head`."""
        return self._holder(path).head(path)

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """See `Store.put`."""
        if create and path not in self._deleted and self._exists(path):
            raise ConflictError(f"{path} already exists")
        self._above.put(path, data, create=False)
        self._written.add(path)
        self._deleted.discard(path)

    def put_file(self, path: str, local_path: Any) -> None:
        """See `Store.put_file`."""
        self._above.put_file(path, local_path)
        self._written.add(path)
        self._deleted.discard(path)

    def scratch(self) -> str | None:
        """See `Store.scratch`."""
        return None

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """See `Store.list`."""
        infos = {info.path: info for info in self._below.list(prefix, after=after)}
        infos |= {info.path: info for info in self._above.list(prefix, after=after)}
        return [infos[path] for path in sorted(infos) if path not in self._deleted]

    def delete(self, paths: Iterable[str]) -> None:
        """See `Store.delete`."""
        deleted = set(paths)
        self._above.delete(deleted & self._written)
        self._written -= deleted
        self._deleted |= deleted

    def memory_map(self, path: str) -> Any:
        """See `Store.memory_map`."""
        return self._holder(path).memory_map(path)

    def _exists(self, path: str) -> bool:
        try:
            self._holder(path).head(path)
        except FileNotFoundError:
            return False
        return True


@dataclass(frozen=True)
class ChangeCost:
    """Cost of changes in dollars, extrapolated from measurements.

    Attributes
    ----------
    per_million_writes : float
        Dollars per million requests to the writer.
    writes_per_month, keeper_per_month : float
        Dollars per month at the given rates. Runs of the keeper that merge shards cost more than those that were measured.
    """

    per_million_writes: float
    writes_per_month: float
    keeper_per_month: float


def measure_changes(
    store: Store,
    *,
    writes_per_hour: float,
    rows_per_write: int = 1,
    optimize_every: float | None = None,
    memory: int = 1769,
    keeper_memory: int = 3008,
    prices: Prices = PRICES["x86_64"],
    platform: Forecast = FORECAST,
    seed: int = 0,
) -> ChangeCost:
    """Append rows like those of the index through a writer, then run a keeper, both over a copy that is kept in memory.

    Parameters
    ----------
    writes_per_hour : float
    rows_per_write : int
    optimize_every : float, optional
        Minutes between two runs of the keeper; without one, there is no keeper.
    memory, keeper_memory : int
        MB of the writer and of the keeper.

    Raises
    ------
    InputError
        A rate is not positive, or the index holds multi-vector documents, to which functions write no rows.
    """
    if not (writes_per_hour > 0 and rows_per_write >= 1 and (optimize_every is None or optimize_every > 0)):
        rates = f"{writes_per_hour}, {rows_per_write} and {optimize_every}"
        raise InputError(
            "writes_per_hour must be above 0, rows_per_write at least 1, and optimize_every a number of seconds above 0 or "
            f"None, got {rates}"
        )
    overlay = OverlayStore(store)
    writer = Worker.open("writer", overlay, "cost-writer", memory=memory, run=Writer().answer)
    requests = _requests(store, rows_per_write, seed)
    usages = [_measure(writer, request, Committed, memory, platform) for request in requests]
    bill = make_bill(Usages.sum(usages[1:]), prices)
    per_write = bill.total / (len(usages) - 1)
    keeper_per_month = 0.0
    if optimize_every is not None:
        keeper = Worker.open("keeper", overlay, "cost-keeper", memory=keeper_memory, run=keep)
        kept = _measure(keeper, KeepRequest(retune=False), Kept, keeper_memory, platform)
        keeper_per_month = make_bill(kept, prices).total * SECONDS_A_MONTH / (60 * optimize_every)
    return ChangeCost(
        per_million_writes=1e6 * per_write,
        writes_per_month=per_write * writes_per_hour * SECONDS_A_MONTH / 3600,
        keeper_per_month=keeper_per_month,
    )


def _requests(store: Store, rows: int, seed: int) -> list[WriteRequest]:
    manifest = read_manifest(store, None)
    if manifest.documents is not None:
        raise InputError("functions write no rows to an index of multi-vector documents")
    vectors = stand_ins(store, manifest, rows * (WRITES + 1), seed)
    vectors = vectors[np.arange(rows * (WRITES + 1)) % len(vectors)]
    requests = []
    for number in range(WRITES + 1):
        listed = vectors[number * rows : (number + 1) * rows].astype(np.float64).round(6).tolist()
        first = LARGEST_ID + number * rows
        by_type: dict[str, list[Any]] = {
            "row": [None] * rows,
            "int64": list(range(first, first + rows)),
            "string": [uuid4().hex for _ in range(rows)],
        }
        body = msgspec.json.encode(
            {
                "rows": [
                    {"vector": vector, "id": id_} for vector, id_ in zip(listed, by_type[manifest.id_type], strict=True)
                ]
            }
        )
        requests.append(WriteRequest(operation="append", token=uuid4().hex, body=body))
    return requests


def _measure(worker: Worker, request: Any, reply_type: type, memory: int, platform: Forecast) -> Usages:
    """Resources that a function uses for a request on the platform."""
    started, busy = time.perf_counter(), time.process_time()
    reply = wire.decode(serve(worker, wire.encode(request), Deadline()))
    wall, busy = time.perf_counter() - started, time.process_time() - busy
    if not isinstance(reply, reply_type):
        raise InputError(f"the {worker.role} failed: {getattr(reply, 'message', reply)}")
    longer = platform_seconds(wall, busy, memory / platform.whole_processor) - wall
    usages: Usages = reply.usages  # type: ignore[attr-defined]
    return usages + Usages.of(worker.role, Usage(seconds=longer, gigabyte_seconds=longer * memory / 1024))
