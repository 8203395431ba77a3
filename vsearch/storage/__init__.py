"""Object stores, Arrow files and snapshots.

An index is a prefix in a store: ``manifest/`` has one small file per snapshot, ``model/`` and ``segments/`` have immutable
Arrow files; ``index/FORMAT.md`` specifies them. Names are imported on first use, so a worker does not load modules that only a build
needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch._lazy import lazy_names

if TYPE_CHECKING:
    from vsearch.storage.files.entries import ALIGNMENT, CHUNK, ArrayEntry, ColumnEntry, FileEntry, check_entry
    from vsearch.storage.files.naming import check_not_pruned
    from vsearch.storage.files.segment_file import SegmentFile, ensure_together
    from vsearch.storage.files.writing import write_arrays, write_table
    from vsearch.storage.snapshots.commits import SnapshotInfo, list_snapshots, read_manifest, snapshot_numbers
    from vsearch.storage.snapshots.committing import commit
    from vsearch.storage.snapshots.condemned import discarded_on_failure
    from vsearch.storage.snapshots.kinds import CHECKSUMS
    from vsearch.storage.snapshots.manifest import (
        BUILT_FORMAT,
        FORMAT,
        AttributeEntry,
        CodecEntry,
        DocumentsEntry,
        EncodingEntry,
        EncodingHeader,
        Manifest,
        ProvenanceEntry,
        SettingsEntry,
        ShardEntry,
        TokenCodecEntry,
        decode_manifest,
        encode_manifest,
        manifest_files,
    )
    from vsearch.storage.snapshots.pruning import GRACE, PruneReport, prune
    from vsearch.storage.snapshots.shards import join_checksums, open_files
    from vsearch.storage.snapshots.verifying import Problem, VerifyReport, verify
    from vsearch.storage.stores.base import ObjectInfo, Store
    from vsearch.storage.stores.opening import open_store
    from vsearch.storage.stores.probing import probe
    from vsearch.storage.stores.registry import StoreKind, register_store

__all__ = [
    "ALIGNMENT",
    "BUILT_FORMAT",
    "CHECKSUMS",
    "CHUNK",
    "FORMAT",
    "GRACE",
    "ArrayEntry",
    "AttributeEntry",
    "CodecEntry",
    "ColumnEntry",
    "DocumentsEntry",
    "EncodingEntry",
    "EncodingHeader",
    "FileEntry",
    "Manifest",
    "ObjectInfo",
    "Problem",
    "ProvenanceEntry",
    "PruneReport",
    "SegmentFile",
    "SettingsEntry",
    "ShardEntry",
    "SnapshotInfo",
    "Store",
    "StoreKind",
    "TokenCodecEntry",
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
    "register_store",
    "snapshot_numbers",
    "verify",
    "write_arrays",
    "write_table",
]


__getattr__ = lazy_names(
    __name__,
    {
        "vsearch.storage.files.entries": (
            "ALIGNMENT",
            "CHUNK",
            "ArrayEntry",
            "ColumnEntry",
            "FileEntry",
            "check_entry",
        ),
        "vsearch.storage.files.naming": ("check_not_pruned",),
        "vsearch.storage.files.segment_file": ("SegmentFile", "ensure_together"),
        "vsearch.storage.files.writing": ("write_arrays", "write_table"),
        "vsearch.storage.snapshots.commits": ("SnapshotInfo", "list_snapshots", "read_manifest", "snapshot_numbers"),
        "vsearch.storage.snapshots.committing": ("commit",),
        "vsearch.storage.snapshots.condemned": ("discarded_on_failure",),
        "vsearch.storage.snapshots.kinds": ("CHECKSUMS",),
        "vsearch.storage.snapshots.manifest": (
            "BUILT_FORMAT",
            "FORMAT",
            "AttributeEntry",
            "CodecEntry",
            "DocumentsEntry",
            "EncodingEntry",
            "EncodingHeader",
            "Manifest",
            "ProvenanceEntry",
            "SettingsEntry",
            "ShardEntry",
            "TokenCodecEntry",
            "decode_manifest",
            "encode_manifest",
            "manifest_files",
        ),
        "vsearch.storage.snapshots.pruning": ("GRACE", "PruneReport", "prune"),
        "vsearch.storage.snapshots.shards": ("join_checksums", "open_files"),
        "vsearch.storage.snapshots.verifying": ("Problem", "VerifyReport", "verify"),
        "vsearch.storage.stores.base": ("ObjectInfo", "Store"),
        "vsearch.storage.stores.opening": ("open_store",),
        "vsearch.storage.stores.probing": ("probe",),
        "vsearch.storage.stores.registry": ("StoreKind", "register_store"),
    },
)
