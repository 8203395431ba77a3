"""Track the newest snapshot in a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vsearch.errors import IndexNotFoundError, SnapshotNotFoundError, VsearchError
from vsearch.fanout.calls.telemetry import log
from vsearch.forking import renew_in_children
from vsearch.storage import Store, snapshot_numbers
from vsearch.storage.snapshots.commits import newest_after

FRESH = 1.0
"""Seconds for which the number of the newest snapshot is cached."""


class NewestSnapshot:
    """The number of the newest snapshot, refreshed by a listing that starts at the last known name.

    Parameters
    ----------
    store : Store
        The store of the index.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: tuple[int, float] | None = None  # the number, and the start time of the listing that returned it
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent process may hold."""
        self._looking = threading.Lock()

    def number(self, freshness: float = 0.0, at_least: int = 0, prepare: Callable[[int], object] | None = None) -> int:
        """Return the number of the newest snapshot.

        Parameters
        ----------
        freshness : float
            Maximum staleness in seconds. Within it, the known snapshot is used while a newer one is found and prepared.
        at_least : int
            The minimum number.
        prepare : callable, optional
            Loads a snapshot.

        Raises
        ------
        IndexNotFoundError
            The store contains no index.
        SnapshotNotFoundError
            The newest snapshot is older than `at_least`.
        StoreError
            The store cannot be read.
        """
        known, now = self._known, time.monotonic()
        if known is not None and known[0] >= at_least:
            age = now - known[1]
            if age < FRESH:
                return known[0]
            if age < freshness:
                if prepare is not None:
                    self._look_aside(known[0], prepare)
                return known[0]
        number = self._look(known)
        if number < at_least:
            raise SnapshotNotFoundError(
                f"{self._store.url}: snapshot {at_least} does not exist yet; the newest is {number}"
            )
        self._know(number, now)
        return number

    def _look(self, known: tuple[int, float] | None) -> int:
        if known is not None:
            return newest_after(self._store, known[0]) or known[0]
        numbers = snapshot_numbers(self._store)
        if not numbers:
            raise IndexNotFoundError(f"{self._store.url} contains no index")
        return numbers[-1]

    def _know(self, number: int, when: float) -> None:
        known = self._known
        if known is None or (number, when) > known:
            self._known = number, when

    def _look_aside(self, known: int, prepare: Callable[[int], object]) -> None:
        """Look for a newer snapshot in a new thread, unless one is already running."""
        looking = self._looking
        if not looking.acquire(blocking=False):
            return

        def look() -> None:
            try:
                now = time.monotonic()
                number = newest_after(self._store, known)
                if number is not None:
                    prepare(number)
                self._know(known if number is None else number, now)
            except VsearchError as error:  # the next request looks again
                log("newest", "coordinator", "failed", message=str(error))
            finally:
                looking.release()

        threading.Thread(target=look, daemon=True).start()
