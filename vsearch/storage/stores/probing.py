"""Whether a place can hold an index, asked before the hours of a build."""

from __future__ import annotations

import warnings
from uuid import uuid4

from vsearch.errors import ConflictError, StoreError, VsearchWarning
from vsearch.storage.stores.base import Store
from vsearch.storage.stores.folder import FolderStore
from vsearch.storage.stores.registry import find_kind

AT_THE_ROOT = (
    "this index lies at the root of its bucket, so whoever may read it, as the roles of a deployed stack, may read the whole "
    "bucket; give it a prefix: {scheme}://bucket/prefix"
)


def probe(store: Store) -> None:
    """See that objects can be written, and that one that is there is not written over by a put that must create it.

    A store that ignores the condition (``If-None-Match`` on S3 and Azure) would lose commits of two writers at once without a word.

    Raises
    ------
    StoreError
        It cannot be written, or ignores the condition.
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
        f"{store.url}: this store ignores conditional writes (If-None-Match: *), so two writers at once would lose each "
        "other's work unseen; keep the index in one that has them, such as AWS S3, MinIO or SeaweedFS, or in a folder"
    )
