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
    scheme, _, rest = store.url.partition("://")
    kind = find_kind(scheme) if rest and "/" not in rest else None
    if kind is not None and kind.bucket:
        warnings.warn(AT_THE_ROOT.format(scheme=scheme), VsearchWarning, stacklevel=4)
    path = f"segments/.vsearch-probe-{uuid4().hex}.tmp"
    store.put(path, b"1")
    try:
        store.put(path, b"2")
    except ConflictError:
        return
    finally:
        store.delete([path])
    raise StoreError(
        f"{store.url}: this store ignores conditional writes (If-None-Match: *), so concurrent writers would silently "
        "overwrite each other; keep the index in a store that has them, such as AWS S3, MinIO or SeaweedFS, or in a folder"
    )
