"""A stack's functions in this process, one at a time: what each takes where it has a machine of its own.

Run together, as they call each other, they would share this machine's cores and one interpreter, and be billed for waiting for
each other. So a search is run once to see who calls whom with what; then every call is run again, callees first, with the
replies of those that it calls at hand: they come after the time that they took, and a hop.
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
"""Runs of each call; the median counts."""

LONGEST = 2.0
"""Seconds after which a call is not run again."""


@dataclass(frozen=True)
class Conditions:
    """What functions run under.

    Attributes
    ----------
    memory : int
        MB of each function.
    hop, byte : float
        Seconds that a caller waits for an invocation besides what the function takes: for each, and for each byte of its
        message and reply.
    processors : float
        Processors of each function; below 1 a share of one.
    """

    memory: int
    hop: float
    byte: float
    processors: float


class Rehearsal:
    """An `Invoker` that rehearses every call from outside, and answers with a bill as the conditions make it.

    Parameters
    ----------
    open_worker : callable
        Makes the worker of a function, given its name and what it calls others by.
    """

    def __init__(self, open_worker: Callable[[str, Invoker], Worker], names: Names, conditions: Conditions) -> None:
        self._names, self._conditions = names, conditions
        self._functions = LocalInvoker(lambda function: open_worker(function, _Between(self)))
        self._replies: dict[tuple[str, bytes], tuple[bytes, float]] = {}
        self._done: list[tuple[str, bytes]] = []  # callees before their callers

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:  # noqa: ARG002 (it is no real call)
        """See `Invoker.invoke`."""
        self._replies.clear()
        self._done.clear()
        reply = self.call(function, payload)
        for one in list(dict.fromkeys(self._done)):
            reply, _ = self._replies[one] = self._rehearse(*one)
        return reply

    def call(self, function: str, payload: bytes) -> bytes:
        """What a function replies: after its time where it was rehearsed, else by running it now."""
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
        """A reply with its bill as on the platform, and the seconds that it takes there."""
        runs: list[tuple[float, float, bytes]] = []
        begun = time.perf_counter()
        while len(runs) < RUNS and (len(runs) < 2 or time.perf_counter() - begun < LONGEST):
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
    """How rehearsed functions call each other."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:  # noqa: ARG002
        """See `Invoker.invoke`."""
        return self._rehearsal.call(function, payload)


def platform_seconds(wall: float, busy: float, processors: float) -> float:
    """How long a call takes with so many processors that took `wall` seconds here, `busy` ones of processor time.

    What is not busy waits, which takes as long there. Threads that ran side by side here take turns where there are fewer
    processors for them; with a share of one, work takes longer in proportion.
    """
    alone = busy / min(processors, 1.0)
    return max(wall + alone - busy, busy / processors)
