"""An index in an object store: S3, Google Cloud Storage, Azure, or memory for tests. obstore does the work."""

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

PARALLEL = 32
"""Requests in flight per store: first bytes take 10 to 50 ms, so waiting dominates, not work."""

PART = 8 << 20
"""Bytes of one part of an upload; more where a file would need over 10,000 parts."""


class ObjectStore:
    """Objects below one prefix of a bucket.

    Parameters
    ----------
    url : str
        Shown in messages; holds no secret.
    backend : obstore store
        Need not repeat what fails.
    prefix : str
        Without slashes at its ends; may be empty.
    reopen : callable
        Opens this place again, in another process: a function of a module, of the URL and the options.
    options : mapping
        What `reopen` needs besides the URL. Holds no secret: it travels to other processes,
        which take their keys from their own environment.
    uploads : obstore store, optional
        For files that travel in parts: repeats a part that fails, so that not all of them start again.
    first_patience : float
        Seconds for which a place is tried that never answered; it may be the wrong one.
    provider : Provider
        Whose names errors use.
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
        self._answered = False
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds, and no threads."""
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"ObjectStore({self._url!r})"

    def __getstate__(self) -> dict[str, Any]:
        place = {"url": self._url, "prefix": self._prefix.rstrip("/"), "reopen": self._reopen, "options": self._options}
        return place | {"first_patience": self._first_patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ObjectStore.__init__(self, **state, backend=cast("Backend", None))
        del (
            self._backend,
            self._uploads,
        )  # opened when first needed: an error while unpickling would end a pool's worker

    def __getattr__(self, name: str) -> Any:
        if name not in ("_backend", "_uploads") or "_url" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        opened = self._reopen(self._url, **self._options)
        self._provider = opened._provider  # noqa: SLF001 (of the same class)
        self._backend, self._uploads = opened._backend, opened._uploads  # noqa: SLF001
        return vars(self)[name]

    def __copy__(self) -> Self:
        return self  # nothing in it changes

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @property
    def url(self) -> str:
        """Where this is."""
        return self._url

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """Bytes ``[start, stop)`` of an object; all of it without limits."""
        import obstore

        key = self._key(path)
        if stop is not None:
            return self._range(path, start or 0, stop)
        options: Any = None if start is None else {"range": {"offset": start}}
        return self._ask(path, "read", lambda: memoryview(obstore.get(self._backend, key, options=options).bytes()))

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Several ranges, side by side."""
        return self._side_by_side(lambda start, stop: self._range(path, start, stop), starts, stops)

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Ranges, side by side, each to its own place in ``out``."""

        def one(start: int, stop: int) -> None:
            part = self._range(path, start, stop)
            if len(part) != stop - start:
                raise EOFError(path)
            out[start:stop] = part

        self._side_by_side(one, starts, stops)

    def _side_by_side(self, one: Callable[[int, int], T], starts: Sequence[int], stops: Sequence[int]) -> list[T]:
        # obstore.get_ranges would do for small reads, but it keeps ten requests in flight, joins neighbours into one, and
        # panics where the object is shorter than asked.
        if len(starts) == 1:
            return [one(int(starts[0]), int(stops[0]))]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="vsearch-read")
        return list(self._pool.map(carried(one), map(int, starts), map(int, stops)))

    def head(self, path: str) -> ObjectInfo:
        """Length and time of one object."""
        import obstore

        found = self._ask(path, "read", lambda: obstore.head(self._backend, self._key(path)))
        return ObjectInfo(path, found["size"], found["last_modified"])

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write an object; with ``create`` only if there is none, which the store decides."""
        import obstore

        key, tries = self._key(path), 0

        def once() -> None:
            nonlocal tries
            tries += 1
            obstore.put(self._backend, key, data, mode="create" if create else "overwrite", use_multipart=False)

        try:
            self._ask(path, "write", once)
        except ConflictError:
            # An answer that was lost may have been to a put that had succeeded.
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
        """Any folder will do."""
        return None

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """All objects below ``prefix``, over all pages of the listing, sorted by path; ``after`` a path, those behind it."""
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
        """Remove objects; a missing one is no error."""
        import obstore

        keys = [self._key(path) for path in paths]
        for i in range(0, len(keys), 1000):
            some = keys[i : i + 1000]
            try:
                self._ask(self._prefix, "delete", partial(obstore.delete, self._backend, some))
            except FileNotFoundError:
                # Not S3, which takes many at once: the first that is missing ended it, and the rest may still be there.
                self._delete_each(some)

    def _delete_each(self, keys: Sequence[str]) -> None:
        import obstore

        def one(at: int, _: int) -> None:
            with suppress(FileNotFoundError):
                self._ask(self._prefix, "delete", partial(obstore.delete, self._backend, keys[at]))

        self._side_by_side(one, range(len(keys)), range(len(keys)))

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """None: an object store has no files to map."""
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
        """Ask the store, and again while it puts off; a missing object stays FileNotFoundError, other errors become ours."""
        from obstore import exceptions

        _claim_threads(self._url)
        try:
            answer = persist(lambda: in_time(call, self._url), self._patience, self._url)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise ConflictError(f"{path}: is already there; another writer was first") from None
        except FileNotFoundError as error:
            if re.search(NO_BUCKET, str(error)):
                said = explain_store(str(error), action, provider=self._provider)
                raise StoreError(f"{self._url}: {said}") from None
            raise FileNotFoundError(f"{path}: is not in {self._url}") from None
        except (VsearchError, EOFError):
            raise
        except Exception as error:
            text = str(error).split("\n\nDebug source:")[0]
            if "Invalid range" in text or "416 Range" in text:
                raise EOFError(path) from None
            refused = isinstance(
                error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError | PermissionError
            )
            said = explain_store(text, action, refused=refused, provider=self._provider)
            raise StoreError(f"{self._url}: {said}") from error
        self._answered = True
        return answer

    def _patience(self, error: Exception) -> float:
        text = str(error).split("\n\nDebug source:")[0]
        if not passes(text):
            return 0.0
        nobody = unreachable(text)
        self._answered = self._answered or not nobody
        return PATIENCE if self._answered else self._first_patience


_process: int | None = None  # in which obstore has its threads


def _claim_threads(url: str) -> None:
    """Note in which process obstore works; in one that is forked from it, every call would wait for ever.

    Raises
    ------
    StoreError
        It worked in the parent process.
    """
    global _process  # noqa: PLW0603 (obstore has threads once for all stores)
    if _process is None:
        _process = os.getpid()
    elif _process != os.getpid():
        raise StoreError(
            f"{url}: this process was forked from one that had used an object store, which works by threads that a fork "
            "does not copy; start processes by 'spawn' or 'forkserver' (multiprocessing.get_context('spawn')), or use object "
            "stores only after the fork (gunicorn: without --preload)"
        )


_memories: dict[str, MemoryStore] = {}
_memories_lock = Lock()


def open_memory(url: str) -> ObjectStore:
    """``memory://name/prefix``: lives as long as the process; every opening of a name sees the same objects."""
    from obstore.store import MemoryStore

    parts = split_url(url)
    with _memories_lock:
        backend = _memories.setdefault(parts.netloc, MemoryStore())
    prefix = parts.path.strip("/")
    return ObjectStore(url.rstrip("/"), backend, check_path(prefix) if prefix else "", open_memory)
