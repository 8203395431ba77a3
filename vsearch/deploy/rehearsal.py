"""Rehearsal of a stack's functions in this process, one at a time, as if each had its own machine.

If they ran concurrently, as they call each other, they would share this machine's cores and one interpreter, and be billed for
waiting on each other. Instead, a search is run once to record which functions call which with what payload. Then every call
is repeated, callees first; replies of callees are replayed after the time that they took plus a hop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import msgspec

from vsearch.fanout.calls.bill import Usage, Usages
from vsearch.fanout.calls.invoker import Invoker, Names
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire

RUNS = 7
"""Number of runs of each call, of which the median counts."""

LONGEST = 2.0
"""Calls that take longer than this, in seconds, are not repeated."""


@dataclass(frozen=True)
class Conditions:
    """The conditions under which functions run.

    Attributes
    ----------
    memory : int
        Memory per function in MB.
    hop, byte : float
        Seconds that a caller waits for an invocation on top of the function's own time: per call, and per byte of its
        message and reply.
    processors : float
        Processors per function; a value below 1 is a share of one.
    """

    memory: int
    hop: float
    byte: float
    processors: float


class Rehearsal:
    """An `Invoker` that rehearses every outside call and replies with the bill under the given conditions.

    Parameters
    ----------
    open_worker : callable
        Creates the worker of a function, given its name and the invoker for its calls.
    """

    def __init__(self, open_worker: Callable[[str, Invoker], Worker], names: Names, conditions: Conditions) -> None:
        self._names, self._conditions = names, conditions
        self._functions = LocalInvoker(lambda function: open_worker(function, _Between(self)))
        self._replies: dict[tuple[str, bytes], tuple[bytes, float]] = {}
        self._done: list[tuple[str, bytes]] = []  # callees come before their callers

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:  # noqa: ARG002 (not a real call)
        """See `Invoker.invoke`."""
        self._replies.clear()
        self._done.clear()
        reply = self.call(function, payload)
        for call in list(dict.fromkeys(self._done)):
            reply, _ = self._replies[call] = self._rehearse(*call)
        return reply

    def call(self, function: str, payload: bytes) -> bytes:
        """Reply of a function: replayed after its measured time if it was rehearsed, otherwise by running it now."""
        known = self._replies.get((function, payload))
        if known is not None:
            reply, seconds = known
            moved = len(payload) + len(reply)
            time.sleep(seconds + self._conditions.hop + moved * self._conditions.byte)
            return reply
        reply = self._functions.invoke(function, payload, None)
        self._done.append((function, payload))
        return reply

    def _rehearse(self, function: str, payload: bytes) -> tuple[bytes, float]:
        """Return the reply with its bill on the platform, and the seconds that it takes there."""
        runs: list[tuple[float, float, bytes]] = []
        start = time.perf_counter()
        while len(runs) < RUNS and (len(runs) < 2 or time.perf_counter() - start < LONGEST):
            started, busy = time.perf_counter(), time.process_time()
            reply = self._functions.invoke(function, payload, None)
            wall, busy = time.perf_counter() - started, time.process_time() - busy
            seconds = platform_seconds(wall, busy, self._conditions.processors)
            runs.append((seconds, seconds - wall, reply))
        seconds, longer, reply = sorted(runs, key=itemgetter(0))[len(runs) // 2]
        answer = wire.decode(reply)
        more = Usage(seconds=longer, gigabyte_seconds=longer * self._conditions.memory / 1024)
        usages = answer.usages + Usages.of(self._names.role(function), more)
        return wire.encode(msgspec.structs.replace(answer, usages=usages)), seconds


class _Between:
    """The invoker for calls between rehearsed functions."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:  # noqa: ARG002
        """See `Invoker.invoke`."""
        return self._rehearsal.call(function, payload)


def platform_seconds(wall: float, busy: float, processors: float) -> float:
    """Estimate the duration of a call on `processors` processors that took `wall` seconds here, `busy` of them CPU time.

    Time that is not CPU time is waiting, which takes as long there. Threads that ran in parallel here share fewer processors
    there; with a fraction of a processor, work takes proportionally longer.
    """
    serial = busy / min(processors, 1.0)
    return max(wall + serial - busy, busy / processors)
