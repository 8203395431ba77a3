"""Waiting for a store no longer than the caller does: `timeout=` of a search bounds every read that it makes."""

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
    """`no_later_than`, at no cost where there is no bound."""
    return _UNBOUND if moment is None else no_later_than(moment)


def time_left() -> float | None:
    """Seconds until the bound of this thread, None without one.

    Raises
    ------
    SearchTimeoutError
        There are none.
    """
    moment = until()
    if moment is None:
        return None
    left = moment - time.monotonic()
    if left <= 0:
        raise SearchTimeoutError("the time ran out before all was read; give it longer")
    return left


def in_time(call: Callable[[], T], where: str) -> T:
    """What a call returns or raises, if it does so before the bound of this thread.

    A call into a store cannot be broken off. Under a bound it runs in a thread of its own, which is left to end by itself.

    Parameters
    ----------
    where
        Names the store in the error.

    Raises
    ------
    SearchTimeoutError
        It did not.
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
        raise SearchTimeoutError(f"{where} did not answer before the time ran out; give it longer")
    if failure:
        raise failure[0]
    return outcome[0]
