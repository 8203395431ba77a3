"""Check that a store can hold an index, before a build spends hours."""

from __future__ import annotations

import warnings
from uuid import uuid4

from vsearch.errors import ConflictError, StoreError, VsearchWarning
from vsearch.storage.stores.base import Store
from vsearch.storage.stores.folder import FolderStore
from vsearch.storage.stores.registry import find_kind

AT_THE_ROOT = (
    "this index lies at the root of its bucket, so anyone who may read it, such as the roles of a deployed stack, may read the "
    "whole bucket; use a prefix: {scheme}://bucket/prefix"
)

IGNORED = (
    "{url}: this store ignores conditional writes (If-None-Match: *), so concurrent writers would silently "
    "overwrite each other; keep the index in a store that has them, such as AWS S3, MinIO or SeaweedFS, or in a folder"
)

MOST_PROBED = 1000
_probed: set[str] = set()  # buckets known to refuse overwriting


def probe(store: Store) -> None:
    """Check that objects can be written, and that a conditional put does not overwrite an existing one.

    A store that ignores the condition (``If-None-Match`` on S3 and Azure) would silently lose one of two concurrent commits.

    Raises
    ------
    StoreError
        The store cannot be written, or ignores the condition.
    """
    if isinstance(store, FolderStore):
        store.check_writable()
        return
    scheme, _, location = store.url.partition("://")
    kind = find_kind(scheme) if location and "/" not in location else None
    if kind is not None and kind.bucket:
        warnings.warn(AT_THE_ROOT.format(scheme=scheme), VsearchWarning, stacklevel=4)
    path = f"segments/.vsearch-probe-{uuid4().hex}.tmp"
    store.put(path, b"1")
    try:
        store.put(path, b"2")
    except ConflictError:
        _probed.add(_bucket_of(store))
        return
    finally:
        store.delete([path])
    raise StoreError(IGNORED.format(url=store.url))


def probe_with(store: Store, path: str) -> None:
    """Check with an object of the caller, which nothing refers to yet, that a conditional put does not overwrite it.

    Takes one request without data per bucket and process, and none for a folder. Unlike `probe`, it needs no permission to delete. If the
    outcome is unknown, the next call checks again.

    Raises
    ------
    StoreError
        The store ignores the condition; the object is now empty.
    """
    key = _bucket_of(store)
    if isinstance(store, FolderStore) or store.url.startswith("memory:") or key in _probed:
        return
    try:
        store.put(path, b"")
    except ConflictError:
        if len(_probed) >= MOST_PROBED:
            _probed.clear()
        _probed.add(key)
    except StoreError:  # it is busy, or the answer was lost; later requests will report that
        return
    else:
        raise StoreError(IGNORED.format(url=store.url))


def _bucket_of(store: Store) -> str:
    scheme, _, location = store.url.partition("://")
    return f"{scheme}://{location.partition('/')[0]}"
