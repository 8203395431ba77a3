"""The state of an open index: one snapshot, which may be refreshed periodically."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, cast

from vsearch.errors import SnapshotNotFoundError, StoreError
from vsearch.forking import renew_in_children
from vsearch.search.state.expiry import expiry_view
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import read_manifest

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Store

logger = logging.getLogger("vsearch")


P = ParamSpec("P")
T = TypeVar("T")


def rereads(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Decorate a method that reads the index: if its snapshot was pruned and the index refreshes, refresh and retry."""

    @wraps(method)
    def read(self: OpenedIndex, /, *args: P.args, **options: P.kwargs) -> T:
        try:
            return method(self, *args, **options)
        except SnapshotNotFoundError:
            if self._interval is None or not self.refresh():
                raise
            return method(self, *args, **options)

    return read


class OpenedIndex:
    """An index that is open in this process.

    It is pickled as URL, snapshot number and store options, without keys: another process opens it on first use, with keys
    from its own environment. Copies share the open state.
    """

    _snapshot: Snapshot

    def __init__(self, snapshot: Snapshot, refresh: float | None = None) -> None:
        self._snapshot = snapshot
        self._interval = refresh
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the locks, which threads of the parent may have held."""
        self._lock, self._looking = threading.RLock(), threading.Lock()
        self._looked = time.monotonic()

    def __getstate__(self) -> tuple[Store, int, int | None, float | None]:
        snapshot = self._snapshot
        return snapshot.store, snapshot.manifest.snapshot, snapshot.moment, self._interval

    def __setstate__(self, state: tuple[Store, int, int | None, float | None]) -> None:
        store, number, moment, interval = state
        type(self).__init__(self, cast("Snapshot", None), interval)
        del self._snapshot  # opened on first use: an error while unpickling would kill the worker of a process pool
        self._place = store, number, moment

    def __getattr__(self, name: str) -> Any:
        if name != "_snapshot" or "_place" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        store, number, moment = self._place
        snapshot = open_snapshot(store, read_manifest(store, None if self._interval is not None else number))
        self._snapshot = snapshot.like(moment=moment)
        return self._snapshot

    def __copy__(self) -> Self:
        return type(self)(self._snapshot, self._interval)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)  # snapshots are immutable

    @property
    def snapshot(self) -> Snapshot:
        """The open snapshot: model, runs and manifest of one committed state."""
        return self._snapshot

    def refresh(self) -> bool:
        """Move to the newest snapshot, reading only what is new; return whether there was a newer one.

        Raises
        ------
        StoreError, CorruptIndexError
            The newer snapshot could not be read. The index stays as it was.
        """
        with self._lock:
            from vsearch.live.commits import newest_of

            self._looked, before = time.monotonic(), self._snapshot
            newest = newest_of(before)
            self._snapshot = newest if newest.moment is None else newest.like(moment=None)
            return self._snapshot is not before

    def _adopt(self, snapshot: Snapshot) -> None:
        """Move to a snapshot made by this process, unless the index reads a newer one already."""
        with self._lock:
            if snapshot.manifest.snapshot > self._snapshot.manifest.snapshot:
                self._snapshot = snapshot

    def _current(self) -> Snapshot:
        """Return the snapshot to search, without expired rows."""
        return expiry_view(self._snapshot if self._interval is None else self._newest())

    def _newest(self) -> Snapshot:
        """Return the newest known snapshot; the first thread that calls this after the refresh interval refreshes it."""
        snapshot, interval = self._snapshot, self._interval
        if interval is None or time.monotonic() - self._looked < interval or not self._looking.acquire(blocking=False):
            return snapshot
        try:
            self.refresh()
        except StoreError as error:
            logger.warning(
                "%s: searching snapshot %d, since looking for a newer one failed: %s",
                snapshot.store.url,
                snapshot.manifest.snapshot,
                error,
            )
        finally:
            self._looking.release()
        return self._snapshot
