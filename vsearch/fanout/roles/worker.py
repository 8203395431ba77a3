"""A worker: the state of one function of a stack, and the handling of its messages."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vsearch.cache import LRUCache
from vsearch.errors import (
    ConflictError,
    CorruptIndexError,
    FormatVersionError,
    IndexNotFoundError,
    InputError,
    MissingDependencyError,
    PredicateError,
    SearchTimeoutError,
    SnapshotNotFoundError,
    StoreError,
)
from vsearch.fanout.calls.bill import Usage, Usages, architecture
from vsearch.fanout.calls.hedging import Hedging
from vsearch.fanout.calls.invoker import Invoker, Names
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind, RetryPolicy
from vsearch.fanout.calls.telemetry import log, measure, span
from vsearch.fanout.roles.allocator import CALLS, allocate
from vsearch.fanout.roles.calling import call, remote_calls
from vsearch.fanout.roles.coordinator import coordinate, require
from vsearch.fanout.roles.describing import describe_index, warm
from vsearch.fanout.roles.heap import release_freed
from vsearch.fanout.roles.loading import Loader, Part, as_of
from vsearch.fanout.roles.planning import PlanSettings, choose_plan
from vsearch.fanout.roles.processor import MaskCache, process
from vsearch.fanout.roles.texts import HeldEncoder, has_encoder, load_encoder
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import (
    AllocateRequest,
    Answer,
    Failure,
    InfoRequest,
    ProcessRequest,
    SearchRequest,
    Warmed,
    WarmRequest,
    failure,
)
from vsearch.fanout.wire.replies import Reply
from vsearch.fanout.wire.where import bind_where
from vsearch.forking import renew_in_children
from vsearch.predicates.binding import columns_of
from vsearch.storage import Store
from vsearch.storage.files.naming import MissingObjectError
from vsearch.storage.stores.metered import MeteredStore
from vsearch.storage.stores.retrying import no_later_than

TAKES: dict[str, Any] = {"coordinator": SearchRequest, "allocator": AllocateRequest, "processor": ProcessRequest}

PREPARING = 60.0
"""Time limit in seconds for all processors to load a newer snapshot."""
RELEASING = 1.0
"""Minimum seconds between two releases of freed memory."""

KEPT = 16  # cached manifests and parts of snapshots, of which a changing index has one for every commit; each has its own tail


@dataclass(eq=False)
class Worker:
    """The state of a function, for the lifetime of its process.

    Attributes
    ----------
    role : {"coordinator", "allocator", "processor", "writer", "keeper"}
    meter : MeteredStore
        The store of the index; its counts include the overflow store.
    loader : Loader
    function : str
        The name of the function, for messages.
    memory : int
        Memory of the function in MB, by which time is billed; half of it is the budget of the cache.
    invoker : Invoker or None
        None for processors.
    names : Names or None
    init_seconds : float
        Duration of the process start, billed with the first answer.
    hedging : Hedging or None
        When calls of processors are repeated because the first takes long.
    run : callable or None
        Answers the messages of roles that do not search; takes the worker, the message and its deadline.
    releases : bool
        Whether it returns freed memory to the system. That affects the whole process, so only functions do.
    released : (int, float)
        Number of evictions from the cache up to the last release, and its time.
    """

    role: str
    meter: MeteredStore
    loader: Loader
    function: str
    memory: int = 1769
    invoker: Invoker | None = None
    names: Names | None = None
    envelope: Envelope = field(default_factory=Envelope)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    plans: PlanSettings = field(default_factory=PlanSettings)
    masks: MaskCache = field(default_factory=MaskCache)
    hedging: Hedging | None = None
    init_seconds: float = 0.0
    run: Callable[[Worker, Any, Deadline], Reply] | None = None
    releases: bool = False
    served: int = 0
    released: tuple[int, float] = (0, -math.inf)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent process may hold."""
        self.lock = threading.Lock()

    @classmethod
    def open(
        cls,
        role: str,
        store: Store,
        function: str,
        *,
        memory: int = 1769,
        envelope: Envelope | None = None,
        **more: Any,
    ) -> Worker:
        """Return a worker for a store; `more` are its other attributes."""
        meter = MeteredStore(store)
        if envelope is not None and envelope.overflow is not None:
            envelope = Envelope(envelope.limit, MeteredStore(envelope.overflow, meter))
        loader = Loader(meter, LRUCache(memory * 1_000_000 // 2, KEPT))
        return cls(role, meter, loader, function, memory, envelope=envelope or Envelope(), **more)


def serve(worker: Worker, payload: bytes, deadline: Deadline) -> bytes:
    """Answer a message; errors are returned as messages, not raised.

    Unexpected errors are logged with their traceback, which is not part of the reply.
    """
    start, meter = time.perf_counter(), worker.meter
    before = meter.requests, meter.bytes, meter.writes
    with worker.lock:
        cold = worker.served == 0
        worker.served += 1
    reply, kind, id = _reply(worker, payload, deadline)
    if worker.releases:
        _release(worker)
    seconds = time.perf_counter() - start + (worker.init_seconds if cold else 0.0)
    usage = Usage(
        invocations=1,
        cold_starts=int(cold),
        failures=int(isinstance(reply, Failure)),
        seconds=seconds,
        gigabyte_seconds=math.ceil(1e3 * seconds) / 1e3 * worker.memory / 1024,  # billed per millisecond
        requests=meter.requests - before[0],
        bytes=meter.bytes - before[1],
        writes=meter.writes - before[2],
    )
    if isinstance(reply, Answer):
        reply = msgspec.structs.replace(reply, arch=architecture())
    if worker.envelope.spills(reply):
        usage += Usage(requests=1, writes=1)
    measure(worker.function, worker.role, kind, usage, reply.error if isinstance(reply, Failure) else "")
    reply = msgspec.structs.replace(reply, id=id, usages=reply.usages + Usages.of(worker.role, usage))
    try:
        return worker.envelope.pack(reply)
    except CallError as error:
        failed = failure(error.kind, str(error), reply.usages)
        return worker.envelope.pack(msgspec.structs.replace(failed, id=id))


def _release(worker: Worker) -> None:
    """Return freed memory to the system if snapshots were replaced since the last time."""
    evictions, now = worker.loader.retention.stats().evictions, time.monotonic()
    replaced = worker.run is not None or evictions != worker.released[0]
    if replaced and now - worker.released[1] >= RELEASING:
        worker.released = evictions, now
        release_freed()


def _reply(worker: Worker, payload: bytes, deadline: Deadline) -> tuple[Reply | Failure, str, str]:
    """Return the reply, and the type and id of the message."""
    try:
        with no_later_than(deadline.at):
            message = worker.envelope.unpack(payload)
    except SearchTimeoutError as error:
        return failure(ErrorKind.DEADLINE, str(error)), "none", ""
    except CallError as error:
        return failure(error.kind, str(error)), "none", ""
    except InputError as error:
        return failure(ErrorKind.REFUSED, str(error)), "none", ""
    kind = type(message).__name__
    with span(worker.role, getattr(message, "trace", ""), function=worker.function, kind=kind) as recorded:
        reply = _try(worker, message, deadline.sooner(getattr(message, "remaining", None)))
        if recorded is not None and isinstance(reply, Failure):
            recorded.set_attribute("error.type", reply.error)
    return reply, kind, message.id


def _try(worker: Worker, message: Any, deadline: Deadline) -> Reply | Failure:
    try:
        with no_later_than(deadline.at):  # limits the retries of a busy store
            return _run(worker, message, deadline)
    except CallError as error:
        return failure(error.kind, str(error), final=error.final)
    except SearchTimeoutError as error:
        return failure(ErrorKind.DEADLINE, str(error))
    except PredicateError as error:
        return failure(ErrorKind.PREDICATE, str(error))
    except InputError as error:
        return failure(ErrorKind.REFUSED, str(error))
    except SnapshotNotFoundError as error:
        return failure(ErrorKind.SNAPSHOT, str(error))
    except (IndexNotFoundError, FormatVersionError) as error:
        return failure(ErrorKind.MISSING, str(error))
    except CorruptIndexError as error:
        worker.loader.forget(error.path)  # it may have been damaged in transit
        return failure(ErrorKind.MISSING if isinstance(error, MissingObjectError) else ErrorKind.CORRUPT, str(error))
    except ConflictError as error:
        return failure(ErrorKind.CONFLICT, str(error))
    except MissingDependencyError as error:
        return failure(ErrorKind.INIT, f"the package of {worker.function} lacks a library: {error}")
    except (StoreError, FileNotFoundError, EOFError) as error:
        return failure(ErrorKind.STORE, str(error))
    except MemoryError:
        return failure(ErrorKind.MEMORY, f"{worker.function} ran out of memory; increase its memory")
    except Exception:
        log(worker.function, worker.role, "failed", trace=traceback.format_exc())
        return failure(ErrorKind.INTERNAL, f"{worker.function} failed unexpectedly; see its log")


def _run(worker: Worker, message: Any, deadline: Deadline) -> Reply:
    if worker.run is not None:
        return worker.run(worker, message, deadline)
    if isinstance(message, WarmRequest):
        return warm(worker.role, worker.loader, message)
    if isinstance(message, InfoRequest) and worker.role == "coordinator":
        return describe_index(worker.loader, message)
    if type(message) is not TAKES[worker.role]:
        raise InputError(f"the {worker.role} does not accept a {type(message).__name__}")
    columns = () if isinstance(message, SearchRequest) else _columns(worker, message)
    if isinstance(message, ProcessRequest):
        with span("load", shard=message.shard):
            part = worker.loader.shard(message.snapshot, message.shard, columns, legs=message.leg is not None)
            snapshot = as_of(part.snapshot, message.moment)
        return process(snapshot, snapshot.groups[0], message, deadline, worker.masks)
    if isinstance(message, AllocateRequest):
        with span("load"):
            part = worker.loader.tables(message.snapshot, columns, legs=message.leg is not None)
            snapshot = as_of(part.snapshot, message.moment)
        calls = remote_calls(worker, snapshot.manifest, snapshot, deadline)
        return allocate(snapshot, message, calls, deadline)
    request: SearchRequest = message
    return coordinate(
        request,
        worker.loader,
        worker.plans,
        worker.masks,
        deadline,
        lambda manifest, snapshot: remote_calls(worker, manifest, snapshot, deadline),
        lambda number: _prepare(worker, number),
    )


def _columns(worker: Worker, message: ProcessRequest | AllocateRequest) -> tuple[str, ...]:
    """Return the attributes that the predicate of a message reads."""
    if message.options.where is None:
        return ()
    bound = bind_where(worker.loader.manifest(message.snapshot), message.options)
    return () if bound is None else columns_of(bound)


def _prepare(worker: Worker, number: int) -> None:
    """Load the parts of a snapshot that single queries need, here and in the processors.

    Raises
    ------
    CallError
        A processor could not be called, or failed.
    StoreError
        The store cannot be read.
    CorruptIndexError
        A file is missing or damaged.
    """
    manifest = worker.loader.manifest(number)
    if worker.loader.retention.values(HeldEncoder) and has_encoder(manifest):
        load_encoder(worker.loader, manifest)
    legs = any(part.legs for part in worker.loader.retention.values(Part))
    if choose_plan(manifest, 1, worker.plans, legs=legs).mode == "alone":
        worker.loader.load(number, legs=legs)
        return
    worker.loader.tables(number, legs=legs)
    names, deadline = worker.names or Names("vsearch"), Deadline.after(PREPARING)

    def load(shard: int) -> None:
        message = WarmRequest(snapshot=number, shard=shard, legs=legs)
        call(worker, names.processor(shard), message, deadline, "processor", lambda reply: require(reply, Warmed))

    with ThreadPoolExecutor(CALLS) as pool:
        for done in [pool.submit(load, shard.number) for shard in manifest.shards]:
            done.result()
