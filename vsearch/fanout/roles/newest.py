"""Which snapshot is the newest, as a worker knows it."""

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
"""Seconds for which the number of the newest snapshot is believed."""


class NewestSnapshot:
    """The number of the newest snapshot, looked for now and then: one listing from the last known name on.

    Parameters
    ----------
    store : Store
        Of the index.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: tuple[int, float] | None = None  # the number, and when the listing that found it began
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._looking = threading.Lock()

    def number(self, freshness: float = 0.0, at_least: int = 0, prepare: Callable[[int], object] | None = None) -> int:
        """The number of the newest snapshot.

        Parameters
        ----------
        freshness : float
            Seconds by which it may be late. Then a newer one is looked for, and prepared, while the known one is answered from.
        at_least : int
            The least number that will do.
        prepare : callable, optional
            Loads a snapshot.

        Raises
        ------
        IndexNotFoundError
            There is no index.
        SnapshotNotFoundError
            There is no snapshot so new.
        StoreError
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
                f"{self._store.url}: there is no snapshot {at_least} yet; the newest is {number}"
            )
        self._know(number, now)
        return number

    def _look(self, known: tuple[int, float] | None) -> int:
        if known is not None:
            return newest_after(self._store, known[0]) or known[0]
        numbers = snapshot_numbers(self._store)
        if not numbers:
            raise IndexNotFoundError(f"{self._store.url} holds no index")
        return numbers[-1]

    def _know(self, number: int, when: float) -> None:
        known = self._known
        if known is None or (number, when) > known:
            self._known = number, when

    def _look_aside(self, known: int, prepare: Callable[[int], object]) -> None:
        """Look for a newer snapshot in a thread of its own, unless one looks already."""
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
            except VsearchError as error:  # whoever asks next looks again
                log("newest", "coordinator", "failed", message=str(error))
            finally:
                looking.release()

        threading.Thread(target=look, daemon=True).start()
