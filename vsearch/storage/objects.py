"""An index in an object store: S3, or memory for tests. obstore does the work."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np

from vsearch.errors import ConflictError, StoreError, VsearchError
from vsearch.storage.stores import ObjectInfo, check_path, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from obstore.store import MemoryStore, S3Store

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
    prefix : str
        Without slashes at its ends; may be empty.
    options : mapping
        What `open_store` needs besides the URL to open this place again. Holds no secret: it travels to other processes,
        which take their keys from their own environment.
    """

    _backend: S3Store | MemoryStore

    def __init__(
        self, url: str, backend: S3Store | MemoryStore, prefix: str, options: Mapping[str, Any] | None = None
    ) -> None:
        self._url = url
        self._backend = backend
        self._options = dict(options or {})
        self._prefix = f"{prefix}/" if prefix else ""
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"ObjectStore({self._url!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self._url, "prefix": self._prefix.rstrip("/"), "options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ObjectStore.__init__(self, state["url"], cast("S3Store", None), state["prefix"], state["options"])
        del self._backend  # opened when it is first needed: an error while unpickling would end the worker of a pool

    def __getattr__(self, name: str) -> Any:
        if name != "_backend" or "_url" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        opened = cast("ObjectStore", open_store(self._url, **self._options))
        self._backend = opened._backend  # noqa: SLF001 (of the same class)
        return self._backend

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
        with self._clear(path):
            if start is None and stop is None:
                return memoryview(obstore.get(self._backend, key).bytes())
            if stop is None:
                options: Any = {"range": {"offset": start or 0}}
                return memoryview(obstore.get(self._backend, key, options=options).bytes())
            return self._range(key, start or 0, stop)

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Several ranges, side by side."""
        key = self._key(path)

        def one(start: int, stop: int) -> memoryview:
            with self._clear(path):
                return self._range(key, start, stop)

        return self._side_by_side(one, starts, stops)

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Ranges, side by side, each to its own place in ``out``."""
        key = self._key(path)

        def one(start: int, stop: int) -> None:
            with self._clear(path):
                part = self._range(key, start, stop)
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
        return list(self._pool.map(one, map(int, starts), map(int, stops)))

    def head(self, path: str) -> ObjectInfo:
        """Length and time of one object."""
        import obstore

        with self._clear(path):
            found = obstore.head(self._backend, self._key(path))
            return ObjectInfo(path, found["size"], found["last_modified"])

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write an object; with ``create`` only if there is none, which the store decides."""
        import obstore

        with self._clear(path):
            obstore.put(
                self._backend,
                self._key(path),
                data,
                mode="create" if create else "overwrite",
                use_multipart=False,
            )

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Upload a local file in parts, then remove it."""
        import obstore

        part = max(PART, -(-Path(local_path).stat().st_size // 9000))
        with self._clear(path):
            obstore.put(self._backend, self._key(path), Path(local_path), chunk_size=part, max_concurrency=8)
        Path(local_path).unlink()

    def scratch(self) -> str | None:
        """Any folder will do."""
        return None

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects below ``prefix``, over all pages of the listing, sorted by path."""
        import obstore

        below = self._prefix + prefix.strip("/")
        with self._clear(prefix):
            found = [
                ObjectInfo(meta["path"][len(self._prefix) :], meta["size"], meta["last_modified"])
                for page in obstore.list(self._backend, below or None, chunk_size=1000)
                for meta in page
            ]
        return sorted(found, key=lambda info: info.path)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; a missing one is no error."""
        import obstore

        keys = [self._key(path) for path in paths]
        with self._clear(self._prefix):
            for i in range(0, len(keys), 1000):
                obstore.delete(self._backend, keys[i : i + 1000])

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """None: an object store has no files to map."""
        del path
        return None

    def _key(self, path: str) -> str:
        return self._prefix + check_path(path)

    def _range(self, key: str, start: int, stop: int) -> memoryview:
        import obstore

        if stop <= start:
            return memoryview(b"")
        return memoryview(obstore.get_range(self._backend, key, start=start, end=stop))

    @contextmanager
    def _clear(self, path: str) -> Iterator[None]:
        """Turn obstore's errors into ours; a missing object stays FileNotFoundError."""
        from obstore import exceptions

        try:
            yield
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise ConflictError(f"{path}: is already there; another writer was first") from None
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(f"{self._url}: there is no such bucket; create it or correct the URL") from None
            raise FileNotFoundError(f"{path}: is not in {self._url}") from None
        except (VsearchError, EOFError):
            raise
        except Exception as error:
            if "Invalid range" in str(error) or "416 Range" in str(error):
                raise EOFError(path) from None
            raise StoreError(f"{self._url}: {_explain(error)}") from error


NO_KEYS = "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or anonymous"

_DENIED = ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "403 Forbidden", "401 Unauth")


def _explain(error: Exception) -> str:
    """Say in one line what went wrong and what to do about it."""
    from obstore import exceptions

    text = str(error).split("\n\nDebug source:")[0]
    detail = _detail(text)
    if "NoSuchBucket" in text:
        return "there is no such bucket; create it or correct the URL"
    if "169.254.1" in text:  # where a machine inside AWS would be given keys, the last place that is asked
        return NO_KEYS
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError | PermissionError) or any(
        word in text for word in _DENIED
    ):
        return f"access was denied ({detail}); check the keys (AWS_ACCESS_KEY_ID or profile) and what they may do"
    if "PermanentRedirect" in text or "redirect" in text.lower():
        return f"the bucket is in another region ({detail}); give region= or set AWS_REGION"
    if "error sending request" in text:
        return f"the store cannot be reached ({detail}); check the endpoint and the network"
    return f"the store failed ({detail}); try again"


def _detail(text: str, limit: int = 200) -> str:
    """The store's own error code and message where it gave them, else what obstore said, shortened."""
    code = re.search("<Code>([^<]+)</Code>", text)
    message = re.search("<Message>([^<]+)</Message>", text)
    if code:
        text = f"{code[1]}: {message[1]}" if message else code[1]
    line = " ".join(text.rsplit(" - ", 1)[-1].split()).rstrip(":.")
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


_memories: dict[str, MemoryStore] = {}
_memories_lock = Lock()


def open_memory(url: str) -> ObjectStore:
    """``memory://name/prefix``: lives as long as the process; every opening of a name sees the same objects."""
    from obstore.store import MemoryStore

    parts = urlsplit(url)
    with _memories_lock:
        backend = _memories.setdefault(parts.netloc, MemoryStore())
    prefix = parts.path.strip("/")
    return ObjectStore(url.rstrip("/"), backend, check_path(prefix) if prefix else "")
