"""Files, and parts of files, that are fetched in one round of requests and then served from memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.entries import check_entry
from vsearch.storage.files.naming import MissingObjectError
from vsearch.storage.stores.metered import MeteredStore
from vsearch.storage.stores.retrying import carried

if TYPE_CHECKING:
    from vsearch.storage.files.entries import FileEntry
    from vsearch.storage.stores.base import Store

PART = 8 << 20
"""Maximum bytes per request; larger files are fetched by concurrent requests."""

PARALLEL = 64


class PrefetchedStore(MeteredStore):
    """A store with some files in memory, which are served as if mapped, without copies.

    Parameters
    ----------
    store
    files : mapping of str to uint8 (bytes,)
        By path. Not verified: readers compare their checksums, as for any file.
    parts : sequence of (path, first byte, uint8 (bytes,))
        Parts of other files that were prefetched.
    """

    def __init__(
        self,
        store: Store,
        files: Mapping[str, NDArray[np.uint8]],
        parts: Sequence[tuple[str, int, NDArray[np.uint8]]] = (),
    ) -> None:
        super().__init__(store)
        self.files = files
        self.parts = parts

    def drop(self, paths: Iterable[str]) -> None:
        """Release files that are no longer read."""
        dropped = set(paths)
        self.files = {path: data for path, data in self.files.items() if path not in dropped}

    def release(self) -> None:
        """Release everything: files that are open keep what they read."""
        self.files, self.parts = {}, ()

    def read_into(
        self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]
    ) -> tuple[int, int] | None:
        """See `Store.read_into`; prefetched ranges need no request."""
        missing = []
        for start, stop in zip(starts, stops, strict=True):
            for part_path, first, data in self.parts:
                if part_path == path and first <= start and stop <= first + len(data):
                    out[start:stop] = data[start - first : stop - first]
                    break
            else:
                missing.append((start, stop))
        if not missing:
            return None  # counted as if it had been fetched now
        return self._store.read_into(path, [start for start, _ in missing], [stop for _, stop in missing], out)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The file in memory, if it is held."""
        data = self.files.get(path)
        return self._store.memory_map(path) if data is None else data

    def count(self, requests: int, read: int, *, writes: int = 0) -> None:
        """Do nothing: the wrapped store counts."""


def fetch_files(
    store: Store,
    entries: Iterable[FileEntry],
    fetched: Mapping[str, NDArray[np.uint8]],
    parts: Sequence[tuple[FileEntry, int, int]] = (),
) -> PrefetchedStore:
    """Read whole files, and byte ranges (`parts`) of others, in one round of concurrent requests.

    Files that the store maps are skipped; those in `fetched` are reused.

    Raises
    ------
    CorruptIndexError
        A file is missing or too short, or a range is not in its file, or a file is larger than this machine can hold.
    """
    files: dict[str, NDArray[np.uint8]] = {}
    requested = list({entry.path: entry for entry in entries}.values())
    if requested and _maps(store, requested[0]):
        return PrefetchedStore(store, {})
    reads: list[tuple[FileEntry, int, int, NDArray[np.uint8]]] = []
    ahead: list[tuple[str, int, NDArray[np.uint8]]] = []
    for entry, first, last in parts:
        check_entry(entry)
        if not 0 <= first <= last <= entry.bytes:
            raise CorruptIndexError(
                entry.path, f"bytes {first}..{last} are not in its {entry.bytes} bytes; restore the manifest"
            )
        sparse = _reserve(entry, sparse=True)
        ahead.append((entry.path, first, sparse[first:last]))
        reads += [(entry, start, min(start + PART, last), sparse) for start in range(first, last, PART)]
    for entry in requested:
        check_entry(entry)
        if entry.path in fetched and len(fetched[entry.path]) == entry.bytes:
            files[entry.path] = fetched[entry.path]
        else:
            files[entry.path] = _reserve(entry, sparse=False)
            reads += [
                (entry, start, min(start + PART, entry.bytes), files[entry.path])
                for start in range(0, entry.bytes, PART)
            ]

    def read(part: tuple[FileEntry, int, int, NDArray[np.uint8]]) -> None:
        entry, start, stop, data = part
        try:
            store.read_into(entry.path, [start], [stop], data)
        except FileNotFoundError:
            raise MissingObjectError(
                entry.path, f"is missing in {store.url}; if it was pruned, open the index again"
            ) from None
        except EOFError:
            raise CorruptIndexError(entry.path, f"is shorter than {entry.bytes} bytes; restore it") from None

    if len(reads) == 1:
        read(reads[0])
    elif reads:
        from concurrent.futures import ThreadPoolExecutor  # imported late: mapped files do not need it

        with ThreadPoolExecutor(min(PARALLEL, len(reads))) as pool:
            list(pool.map(carried(read), reads))
    for array in files.values():
        array.flags.writeable = False
    return PrefetchedStore(store, files, ahead)


def _reserve(entry: FileEntry, *, sparse: bool) -> NDArray[np.uint8]:
    """Make room for a file; if `sparse`, it uses memory only for pages that are written."""
    try:
        return np.frombuffer(mmap.mmap(-1, entry.bytes), np.uint8) if sparse else np.empty(entry.bytes, np.uint8)
    except (OSError, OverflowError, ValueError, MemoryError):
        reason = f"its entry declares {entry.bytes} bytes, more than this machine can hold; restore the manifest"
        raise CorruptIndexError(entry.path, reason) from None


def _maps(store: Store, entry: FileEntry) -> bool:
    try:
        return store.memory_map(entry.path) is not None
    except FileNotFoundError:
        raise MissingObjectError(
            entry.path, f"is missing in {store.url}; restore it or open another snapshot"
        ) from None
