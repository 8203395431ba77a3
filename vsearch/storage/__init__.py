"""Object stores, Arrow files, snapshots.

An index is a prefix in a store: ``manifest/`` with one small file per snapshot, ``model/`` and ``segments/`` with immutable
Arrow files. ``index/FORMAT.md`` has them byte by byte. Names are loaded when they are first used: a
worker never loads what only a build needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsearch.storage.commits import SnapshotInfo, check_not_pruned, list_snapshots, read_manifest, snapshot_numbers
    from vsearch.storage.committing import commit
    from vsearch.storage.condemned import discarded_on_failure
    from vsearch.storage.entries import (
        ALIGNMENT,
        CHUNK,
        ArrayEntry,
        ColumnEntry,
        FileEntry,
        check_entry,
    )
    from vsearch.storage.files import SegmentFile, ensure_together
    from vsearch.storage.manifest import (
        FORMAT,
        AttributeEntry,
        Manifest,
        ShardEntry,
        decode_manifest,
        encode_manifest,
        manifest_files,
    )
    from vsearch.storage.probing import probe
    from vsearch.storage.pruning import GRACE, PruneReport, prune
    from vsearch.storage.shards import CHECKSUMS, join_checksums, open_files
    from vsearch.storage.stores import ObjectInfo, Store, open_store
    from vsearch.storage.verifying import Problem, VerifyReport, verify
    from vsearch.storage.writing import write_arrays, write_table

_HOMES = {
    "commits": ("SnapshotInfo", "check_not_pruned", "list_snapshots", "read_manifest", "snapshot_numbers"),
    "committing": ("commit",),
    "condemned": ("discarded_on_failure",),
    "entries": ("ALIGNMENT", "ArrayEntry", "CHUNK", "ColumnEntry", "FileEntry", "check_entry"),
    "files": ("SegmentFile", "ensure_together"),
    "manifest": (
        "AttributeEntry",
        "FORMAT",
        "Manifest",
        "ShardEntry",
        "decode_manifest",
        "encode_manifest",
        "manifest_files",
    ),
    "probing": ("probe",),
    "pruning": ("GRACE", "PruneReport", "prune"),
    "shards": ("CHECKSUMS", "join_checksums", "open_files"),
    "stores": ("ObjectInfo", "Store", "open_store"),
    "verifying": ("Problem", "VerifyReport", "verify"),
    "writing": ("write_arrays", "write_table"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ALIGNMENT",
    "CHECKSUMS",
    "CHUNK",
    "FORMAT",
    "GRACE",
    "ArrayEntry",
    "AttributeEntry",
    "ColumnEntry",
    "FileEntry",
    "Manifest",
    "ObjectInfo",
    "Problem",
    "PruneReport",
    "SegmentFile",
    "ShardEntry",
    "SnapshotInfo",
    "Store",
    "VerifyReport",
    "check_entry",
    "check_not_pruned",
    "commit",
    "decode_manifest",
    "discarded_on_failure",
    "encode_manifest",
    "ensure_together",
    "join_checksums",
    "list_snapshots",
    "manifest_files",
    "open_files",
    "open_store",
    "probe",
    "prune",
    "read_manifest",
    "snapshot_numbers",
    "verify",
    "write_arrays",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
