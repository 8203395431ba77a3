"""Retry of transient store errors: with jitter, for minutes, logged, and never beyond the caller's deadline."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from vsearch.errors import SearchTimeoutError
from vsearch.storage.stores.urls import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 180.0
"""Seconds for which a request is retried, so that a long build survives minutes in which its store is busy."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds; the bound doubles with each retry, and the wait is random between half the bound and the bound."""

_QUIET, _PAUSE = 1.0, 10.0  # seconds of retrying before the first warning, and between warnings

_until: ContextVar[float | None] = ContextVar("vsearch_until", default=None)


@contextmanager
def no_later_than(moment: float | None) -> Iterator[None]:
    """Set a deadline on the monotonic clock for waits in the body; an earlier outer deadline stays in effect."""
    outer = _until.get()
    deadlines = [bound for bound in (moment, outer) if bound is not None]
    token = _until.set(min(deadlines, default=None))
    try:
        yield
    finally:
        _until.reset(token)


def until() -> float | None:
    """The deadline of this thread on the monotonic clock, if any."""
    return _until.get()


def carried(call: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that other threads run it under the deadline of the calling thread."""
    moment = _until.get()

    def bounded(*args: P.args, **named: P.kwargs) -> T:
        with no_later_than(moment):
            return call(*args, **named)

    return bounded


def persist(call: Callable[[], T], patience: Callable[[Exception], float], where: str) -> T:
    """Call until it succeeds or fails with an error that is not transient.

    Parameters
    ----------
    call
        Must be safe to repeat.
    patience
        Seconds since the first call for which an error is retried; 0 for errors that are not transient.
    where
        Names the store in the log.
    """
    begun, bound, last_warning = time.monotonic(), FIRST_WAIT, -_PAUSE
    last: Exception | None = None
    while True:
        try:
            return call()
        except SearchTimeoutError:
            if last is not None:  # the reason for the retry says more than the timeout
                raise last from None
            raise
        except Exception as error:
            import random  # imports hashlib, which readers do not need

            wait = random.uniform(bound / 2, bound)  # noqa: S311 (no secret)
            now, moment = time.monotonic(), _until.get()
            end = begun + patience(error)
            if now + wait > (end if moment is None else min(end, moment)):
                raise
            last, last_warning = error, _log(where, error, now - begun, last_warning)
        time.sleep(wait)
        bound = min(2 * bound, LONGEST_WAIT)


def _log(where: str, error: Exception, waited: float, last_warning: float) -> float:
    """Warn after one second of retrying, then every ten; return the time of the last warning."""
    import logging

    warn = waited >= _QUIET and waited - last_warning >= _PAUSE
    text = without_secrets(" ".join(str(error).split()))[:300]
    level = logging.WARNING if warn else logging.DEBUG
    logging.getLogger("vsearch").log(level, "%s: still trying after %.1f s: %s", where, waited, text)
    return waited if warn else last_warning
