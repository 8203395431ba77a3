"""Deadlines for store calls: `timeout=` of a search bounds every read that it makes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from vsearch.errors import SearchTimeoutError
from vsearch.storage.stores.retrying import no_later_than, until

T = TypeVar("T")

_UNBOUND = nullcontext()


def within(moment: float | None) -> AbstractContextManager[None]:
    """Like `no_later_than`, at no cost if there is no deadline."""
    return _UNBOUND if moment is None else no_later_than(moment)


def time_left() -> float | None:
    """Seconds until the deadline of this thread, or None without one.

    Raises
    ------
    SearchTimeoutError
        The deadline has passed.
    """
    moment = until()
    if moment is None:
        return None
    left = moment - time.monotonic()
    if left <= 0:
        raise SearchTimeoutError("the time ran out before everything was read; allow more time")
    return left


def in_time(call: Callable[[], T], where: str) -> T:
    """Run a call and return its result or raise its error, if it finishes before the deadline of this thread.

    A call into a store cannot be interrupted. Under a deadline it runs in a separate thread, which is left to finish by itself.

    Parameters
    ----------
    where
        Names the store in the error.

    Raises
    ------
    SearchTimeoutError
        The call did not finish in time.
    """
    left = time_left()
    if left is None:
        return call()
    outcome: list[T] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # raised again below
            failure.append(error)
        done.set()

    threading.Thread(target=run, name="vsearch-wait", daemon=True).start()
    if not done.wait(left):
        raise SearchTimeoutError(f"{where} did not answer before the time ran out; allow more time")
    if failure:
        raise failure[0]
    return outcome[0]
