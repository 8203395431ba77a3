"""Repeating what a store put off: with jitter, for minutes, a line in the log, and never beyond the caller's deadline."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from vsearch.storage.stores.urls import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 180.0
"""Seconds for which a request is repeated, so that a build of hours outlives minutes in which its store is busy."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds; the bound doubles from time to time, and a random part of it, at least half, is waited."""

_QUIET, _PAUSE = 1.0, 10.0  # seconds for which repeating is no news, and between two warnings

_until: ContextVar[float | None] = ContextVar("vsearch_until", default=None)


@contextmanager
def no_later_than(moment: float | None) -> Iterator[None]:
    """Let nothing in the body wait beyond a moment of the monotonic clock; None sets no bound of its own."""
    outer = _until.get()
    given = [bound for bound in (moment, outer) if bound is not None]
    token = _until.set(min(given, default=None))
    try:
        yield
    finally:
        _until.reset(token)


def until() -> float | None:
    """The moment of the monotonic clock that bounds this thread, if any."""
    return _until.get()


def carried(call: Callable[P, T]) -> Callable[P, T]:
    """A function that other threads run under the bound of the calling one."""
    moment = _until.get()

    def bounded(*args: P.args, **named: P.kwargs) -> T:
        with no_later_than(moment):
            return call(*args, **named)

    return bounded


def persist(call: Callable[[], T], patience: Callable[[Exception], float], where: str) -> T:
    """Call until it succeeds, or fails in a way that does not pass.

    Parameters
    ----------
    call
        Must be safe to repeat.
    patience
        Seconds since the first call for which an error is worth another try; 0 where it does not pass.
    where
        Names the store in the log.
    """
    begun, bound, said = time.monotonic(), FIRST_WAIT, -_PAUSE
    while True:
        try:
            return call()
        except Exception as error:
            import random  # brings hashlib, which a process that only reads does without

            wait = random.uniform(bound / 2, bound)  # noqa: S311 (no secret)
            now, moment = time.monotonic(), _until.get()
            end = begun + patience(error)
            if now + wait > (end if moment is None else min(end, moment)):
                raise
            said = _log(where, error, now - begun, said)
        time.sleep(wait)
        bound = min(2 * bound, LONGEST_WAIT)


def _log(where: str, error: Exception, waited: float, said: float) -> float:
    """Warn after a second and every ten from then on; says when it last did."""
    import logging

    warn = waited >= _QUIET and waited - said >= _PAUSE
    text = without_secrets(" ".join(str(error).split()))[:300]
    level = logging.WARNING if warn else logging.DEBUG
    logging.getLogger("vsearch").log(level, "%s: still trying after %.1f s: %s", where, waited, text)
    return waited if warn else said
