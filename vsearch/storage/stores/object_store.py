"""A store in S3, Google Cloud Storage, Azure, or memory for tests, on top of obstore."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np

from vsearch.errors import ConflictError, StoreError, VsearchError
from vsearch.forking import renew_in_children
from vsearch.storage.stores.advice import AWS, NO_BUCKET, explain_store, passes, unreachable
from vsearch.storage.stores.base import ObjectInfo, check_path
from vsearch.storage.stores.retrying import PATIENCE, carried, persist
from vsearch.storage.stores.urls import split_url
from vsearch.storage.stores.waiting import in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

    from vsearch.storage.stores.advice import Provider

    Backend = S3Store | GCSStore | AzureStore | MemoryStore

T = TypeVar("T")

PARALLEL = 64
"""Requests in flight per store: the first byte takes 10 to 50 ms, so latency dominates."""

PART = 8 << 20
"""Bytes per part of an upload; more if a file would need over 10,000 parts."""


class ObjectStore:
    """Objects below one prefix of a bucket.

    Parameters
    ----------
    url : str
        For error messages; holds no secret.
    backend : obstore store
        Should not retry by itself.
    prefix : str
        Without leading or trailing slash; may be empty.
    reopen : callable
        Opens the same store in another process: a module-level function of the URL and the options.
    options : mapping
        Further arguments of `reopen`. Must not contain secrets: they are pickled, and other processes take keys
        from their environment.
    uploads : obstore store, optional
        For uploads in parts: retries a failed part, so that the others need not be repeated.
    first_patience : float
        Seconds for which requests are retried while the store has never answered; its address may be wrong.
    provider : Provider
        Wording for error messages.
    """

    _backend: Backend
    _uploads: Backend

    def __init__(
        self,
        url: str,
        backend: Backend,
        prefix: str,
        reopen: Callable[..., ObjectStore],
        options: Mapping[str, Any] | None = None,
        uploads: Backend | None = None,
        first_patience: float = 0.0,
        provider: Provider = AWS,
    ) -> None:
        self._url = url
        self._backend = backend
        self._uploads = uploads or backend
        self._reopen = reopen
        self._options = dict(options or {})
        self._prefix = f"{prefix}/" if prefix else ""
        self._first_patience = first_patience
        self._provider = provider
        self._has_answered = False
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock by an unlocked one and drop the thread pool."""
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"ObjectStore({self._url!r})"

    def __getstate__(self) -> dict[str, Any]:
        place = {"url": self._url, "prefix": self._prefix.rstrip("/"), "reopen": self._reopen, "options": self._options}
        return place | {"first_patience": self._first_patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ObjectStore.__init__(self, **state, backend=cast("Backend", None))
        # Opened on first use: an error while unpickling would kill the worker of a process pool.
        del self._backend, self._uploads

    def __getattr__(self, name: str) -> Any:
        if name not in ("_backend", "_uploads") or "_url" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        opened = self._reopen(self._url, **self._options)
        self._provider = opened._provider  # noqa: SLF001 (of the same class)
        self._backend, self._uploads = opened._backend, opened._uploads  # noqa: SLF001
        return vars(self)[name]

    def __copy__(self) -> Self:
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @property
    def url(self) -> str:
        """The URL, without secrets."""
        return self._url

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """Bytes ``[start, stop)`` of an object; the whole object without bounds."""
        import obstore

        key = self._key(path)
        if stop is not None:
            return self._range(path, start or 0, stop)
        options: Any = None if start is None else {"range": {"offset": start}}
        return self._ask(path, "read", lambda: memoryview(obstore.get(self._backend, key, options=options).bytes()))

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Read several ranges concurrently."""
        return self._concurrently(lambda start, stop: self._range(path, start, stop), starts, stops)

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Read ranges concurrently, each to the same position in ``out``."""

        def read_range(start: int, stop: int) -> None:
            part = self._range(path, start, stop)
            if len(part) != stop - start:
                raise EOFError(path)
            out[start:stop] = part

        self._concurrently(read_range, starts, stops)

    def _concurrently(self, call: Callable[[int, int], T], starts: Sequence[int], stops: Sequence[int]) -> list[T]:
        # obstore.get_ranges would do for small reads, but it keeps only ten requests in flight, merges neighboring ranges,
        # and panics if the object is shorter than requested.
        if len(starts) == 1:
            return [call(int(starts[0]), int(stops[0]))]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="vsearch-read")
        return list(self._pool.map(carried(call), map(int, starts), map(int, stops)))

    def head(self, path: str) -> ObjectInfo:
        """Length and time of an object."""
        import obstore

        meta = self._ask(path, "read", lambda: obstore.head(self._backend, self._key(path)))
        return ObjectInfo(path, meta["size"], meta["last_modified"])

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write an object; with ``create`` only if it does not exist, which the store checks."""
        import obstore

        key, tries = self._key(path), 0

        def once() -> None:
            nonlocal tries
            tries += 1
            obstore.put(self._backend, key, data, mode="create" if create else "overwrite", use_multipart=False)

        try:
            self._ask(path, "write", once)
        except ConflictError:
            # A lost response may have belonged to a put that succeeded.
            if tries == 1 or not self._holds(path, data):
                raise

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            return bytes(self.get(path, start=0, stop=len(data) + 1)) == data
        except (FileNotFoundError, EOFError):
            return False

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Upload a local file in parts, then remove it."""
        import obstore

        local, key = Path(local_path), self._key(path)
        part = max(PART, -(-local.stat().st_size // 9000))
        self._ask(path, "write", lambda: obstore.put(self._uploads, key, local, chunk_size=part, max_concurrency=8))
        local.unlink()

    def scratch(self) -> str | None:
        """None: files are uploaded from any folder."""
        return None

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """All objects below ``prefix``, over all pages, sorted by path; with ``after``, only paths that sort after it."""
        import obstore

        below = self._prefix + prefix.strip("/")

        def pages() -> list[ObjectInfo]:
            return [
                ObjectInfo(meta["path"][len(self._prefix) :], meta["size"], meta["last_modified"])
                for page in obstore.list(
                    self._backend, below or None, offset=None if after is None else self._key(after), chunk_size=1000
                )
                for meta in page
            ]

        return sorted(self._ask(prefix, "list", pages), key=lambda info: info.path)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; missing ones are ignored."""
        import obstore

        keys = [self._key(path) for path in paths]
        for i in range(0, len(keys), 1000):
            batch = keys[i : i + 1000]
            try:
                self._ask(self._prefix, "delete", partial(obstore.delete, self._backend, batch))
            except FileNotFoundError:
                # Stores other than S3 have no bulk delete: the first missing object stops it, so that others may remain.
                self._delete_each(batch)

    def _delete_each(self, keys: Sequence[str]) -> None:
        import obstore

        def delete_key(position: int, _: int) -> None:
            with suppress(FileNotFoundError):
                self._ask(self._prefix, "delete", partial(obstore.delete, self._backend, keys[position]))

        self._concurrently(delete_key, range(len(keys)), range(len(keys)))

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """None: objects cannot be mapped."""
        del path
        return None

    def _key(self, path: str) -> str:
        return self._prefix + check_path(path)

    def _range(self, path: str, start: int, stop: int) -> memoryview:
        import obstore

        key = self._key(path)
        if stop <= start:
            return memoryview(b"")
        return self._ask(path, "read", lambda: memoryview(obstore.get_range(self._backend, key, start=start, end=stop)))

    def _ask(self, path: str, action: str, call: Callable[[], T]) -> T:
        """Call the store, retrying transient errors; a missing object stays FileNotFoundError, other errors are translated."""
        from obstore import exceptions

        _claim_threads(self._url)
        try:
            answer = persist(lambda: in_time(call, self._url), self._patience, self._url)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise ConflictError(f"{path}: already exists; another writer was first") from None
        except FileNotFoundError as error:
            if re.search(NO_BUCKET, str(error)):
                message = explain_store(str(error), action, provider=self._provider)
                raise StoreError(f"{self._url}: {message}") from None
            raise FileNotFoundError(f"{path}: not found in {self._url}") from None
        except (VsearchError, EOFError):
            raise
        except Exception as error:
            text = str(error).split("\n\nDebug source:")[0]
            if "Invalid range" in text or "416 Range" in text:
                raise EOFError(path) from None
            refused = isinstance(
                error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError | PermissionError
            )
            message = explain_store(text, action, refused=refused, provider=self._provider)
            raise StoreError(f"{self._url}: {message}") from error
        self._has_answered = True
        return answer

    def _patience(self, error: Exception) -> float:
        text = str(error).split("\n\nDebug source:")[0]
        if not passes(text):
            return 0.0
        is_unreachable = unreachable(text)
        self._has_answered = self._has_answered or not is_unreachable
        return PATIENCE if self._has_answered else self._first_patience


_process: int | None = None  # the process that runs obstore's threads


def _claim_threads(url: str) -> None:
    """Record the process that uses obstore; in a process forked from it, every call would wait forever.

    Raises
    ------
    StoreError
        obstore was used in the parent process.
    """
    global _process  # noqa: PLW0603 (obstore shares its threads among all stores)
    if _process is None:
        _process = os.getpid()
    elif _process != os.getpid():
        raise StoreError(
            f"{url}: this process was forked from one that had used an object store, whose threads a fork does not copy; "
            "start processes by 'spawn' or 'forkserver' (multiprocessing.get_context('spawn')), or use object stores only "
            "after the fork (gunicorn: without --preload)"
        )


_memories: dict[str, MemoryStore] = {}
_memories_lock = Lock()


def open_memory(url: str) -> ObjectStore:
    """Open ``memory://name/prefix``, which lives as long as the process; all stores of a name share their objects."""
    from obstore.store import MemoryStore

    parts = split_url(url)
    with _memories_lock:
        backend = _memories.setdefault(parts.netloc, MemoryStore())
    prefix = parts.path.strip("/")
    return ObjectStore(url.rstrip("/"), backend, check_path(prefix) if prefix else "", open_memory)
