"""Hedged calls: a second call of a function that takes unusually long, of which the first reply counts.

Source: Dean and Barroso, The Tail at Scale, Communications of the ACM 56 (2), 2013.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from vsearch.errors import InputError
from vsearch.fanout.calls.retries import CallError
from vsearch.storage.stores.retrying import carried

T = TypeVar("T")


@dataclass(eq=False)
class Hedging:
    """When calls are hedged. Threads may share it.

    Attributes
    ----------
    after : float
        Seconds without a reply after which a call is repeated.
    share : float
        Maximum number of repeated calls per call, in the long run, so that a busy platform does not get twice the calls.
    burst : float
        Maximum number of repeated calls at once, beyond this share.
    """

    after: float
    share: float = 0.1
    burst: float = 8.0
    _saved: float = field(init=False)

    def __post_init__(self) -> None:
        self._saved = self.burst

    @classmethod
    def parse(cls, text: str) -> Hedging:
        """Read a number of seconds.

        Raises
        ------
        InputError
            It is not a positive number.
        """
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InputError(f"VSEARCH_HEDGE must be a positive number of seconds, got {text[:100]!r}")
        return cls(seconds)

    def count_call(self) -> None:
        """Record a call."""
        self._saved = min(self.burst, self._saved + self.share)

    def take(self) -> bool:
        """Whether a call may be repeated now, which is then counted. Racing threads may exceed the share a little."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


@dataclass(frozen=True)
class Race(Generic[T]):
    """The result of a hedged call.

    Attributes
    ----------
    reply : object or None
        The first reply; None if all calls failed.
    errors : list of (CallError, float)
        Failed calls, and the seconds that each took.
    unfinished : float or None
        Seconds since the start of the call that was not waited for; None if there is none.
    """

    reply: T | None
    errors: list[tuple[CallError, float]]
    unfinished: float | None = None


def hedge(send: Callable[[], T], hedging: Hedging) -> Race[T]:
    """Call a function, and call it again if there is no reply after a while; return the first reply.

    Parameters
    ----------
    send : callable
        Makes the call, raises `CallError` if it fails, and may run twice at once. It runs in its own threads, under the
        deadline of this one; a call whose reply is no longer needed runs until it ends.

    Raises
    ------
    BaseException
        An error of `send` other than `CallError`.
    """
    ended: SimpleQueue[tuple[int, T | BaseException]] = SimpleQueue()
    bounded = carried(send)
    starts: list[float] = []

    def run(number: int) -> None:
        try:
            ended.put((number, bounded()))
        except BaseException as error:
            ended.put((number, error))

    def start() -> None:
        starts.append(time.perf_counter())
        threading.Thread(target=run, args=(len(starts) - 1,), name="hedged call", daemon=True).start()

    hedging.count_call()
    start()
    errors: list[tuple[CallError, float]] = []
    try:
        number, outcome = ended.get(timeout=hedging.after)
    except Empty:
        if hedging.take():
            start()
        number, outcome = ended.get()
    for _ in starts:
        now = time.perf_counter()
        if not isinstance(outcome, BaseException):
            others = [now - started for i, started in enumerate(starts) if i != number]
            return Race(outcome, errors, None if errors or not others else others[0])
        if not isinstance(outcome, CallError):
            raise outcome
        errors.append((outcome, now - starts[number]))
        if len(errors) < len(starts):
            number, outcome = ended.get()
    return Race(None, errors)
