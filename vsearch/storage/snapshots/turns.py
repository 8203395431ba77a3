"""Fairness among competing writers: one that lost too often asks the others to pause after their commits.

A writer that has just committed knows the newest snapshot and is likely to win again; one that is slower, or farther from the
store, might never win. A request is an empty object next to the manifests, which every writer lists after its commit anyway. It is
advice: commits are correct without it, and writers that ignore it do no harm.
"""

from __future__ import annotations

import random
import re
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from vsearch.errors import StoreError
from vsearch.storage.stores.retrying import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from vsearch.storage.stores.base import ObjectInfo, Store

STARVED = 6
"""Number of lost races after which a writer asks for its turn."""

LIFETIME = timedelta(seconds=20)
"""Time for which a request counts, by the store's clock, since its writer may have died or may not remove objects."""

YIELD = 0.2
"""Maximum wait in seconds after a lost race, or the time of an attempt if that is longer; divided by the number of lost
races."""

ATTEMPTS = 2.0
"""Pause of the others, in attempts of the writer that asks, ..."""

SHORTEST, LONGEST = 0.1, 3.0
"""... within limits, in seconds."""

_REQUEST = re.compile(r"manifest/waiting-[0-9a-f]{32}-([0-9]{1,6})\.json")


def is_request(path: str) -> bool:
    """Whether a path is a writer's request for its turn."""
    return _REQUEST.fullmatch(path) is not None


def pause_asked(infos: Iterable[ObjectInfo], now: datetime | None, own_path: str | None) -> float:
    """Return the longest pause in seconds that other writers request in a listing; `now` is the time of the store's clock."""
    pause = 0.0
    for info in infos:
        match = _REQUEST.fullmatch(info.path)
        if match and info.path != own_path and (now is None or now - info.modified < LIFETIME):
            pause = max(pause, int(match[1]) / 1000)
    moment = until()
    left = LONGEST if moment is None else (moment - time.monotonic()) / 4  # the caller has a deadline
    return max(0.0, min(pause, LONGEST, left))


class Turn:
    """The attempts of one writer to commit a change. Its request is removed at the end.

    Parameters
    ----------
    store : Store

    Attributes
    ----------
    request : str or None
        Path of its request.
    """

    def __init__(self, store: Store) -> None:
        self.request: str | None = None
        self._store, self._losses = store, 0
        self._requested_at = float("-inf")
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._withdraw()

    def wait(self) -> None:
        """Wait after a lost race; after several, also ask for a turn.

        Writers that lost more often wait less.
        """
        self._losses += 1
        now = time.monotonic()
        attempt = now - self._since
        if self._losses >= STARVED and now - self._requested_at > LIFETIME.total_seconds() / 2:
            self._ask(ATTEMPTS * attempt)
        longest = max(YIELD, min(attempt, LONGEST))
        time.sleep(random.random() * longest / self._losses)  # noqa: S311 (no secret)
        self._since = time.monotonic()

    def _ask(self, pause: float) -> None:
        self._withdraw()
        milliseconds = round(1000 * min(max(pause, SHORTEST), LONGEST))
        path = f"manifest/waiting-{uuid4().hex}-{milliseconds}.json"
        with suppress(StoreError):  # without a request, it continues as before
            self._store.put(path, b"{}")
            self.request, self._requested_at = path, time.monotonic()

    def _withdraw(self) -> None:
        if self.request is not None:
            with suppress(StoreError):  # it expires soon
                self._store.delete([self.request])
            self.request = None
