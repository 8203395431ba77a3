"""The manifest of a snapshot: a small JSON file with its own checksum.

The file is one line, ``{"crc32c":"<8 hex digits>","manifest":<body>}``; the checksum is over the bytes of the body. This
envelope, and ``format`` in the body, will not change in later formats.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from vsearch.errors import CorruptIndexError, FormatVersionError
from vsearch.storage.files.bundle import BundleEntry, bundle_file, check_bundle_entry
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.files.entries import Count, FileEntry, Text, check_entry
from vsearch.storage.files.naming import manifest_path, snapshot_number
from vsearch.storage.snapshots.leg_entries import LegEntries, legs_problem
from vsearch.storage.snapshots.text_entries import TextEntry, text_problem

FORMAT = 2
"""The newest format that this version reads, which changes of an index write."""

BUILT_FORMAT = 1
"""The format of an index that was never changed, which earlier versions also read."""

_ENVELOPE = re.compile(rb'\{"crc32c":"([0-9a-f]{8})","manifest":(.+)\}\n?', re.DOTALL)
_ADDED_FIELD = re.compile(r"#\d+")  # field name of a column added after the build, which a base may not have

_Extent = Annotated[float, msgspec.Meta(ge=0, lt=1e6)]
_SegmentNumber = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # uint32 in files
_PartitionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]  # int32 in files
_Measured = Annotated[float, msgspec.Meta(gt=-1e30, lt=1e30)]


class CodecEntry(msgspec.Struct, frozen=True):
    """The quantizer: its name, and the configuration for its loader (`vsearch.quantizers.registry`)."""

    name: Text
    configuration: dict[str, Any]


class SettingsEntry(msgspec.Struct, frozen=True):
    """Stored search settings. Which of them are set depends on the version that tuned them; UNSET ones are not stored.

    `vsearch.search.state.model.SearchSettings` describes them and has their defaults. Three are stored under older names.
    """

    radius_factor: _Extent | UnsetType = msgspec.field(name="reach", default=UNSET)
    error_sigmas: _Extent | UnsetType = msgspec.field(name="margin", default=UNSET)
    radius_decay: _Extent | UnsetType = msgspec.field(name="decay", default=UNSET)
    recall: _Measured | UnsetType | None = UNSET
    tail: _Extent | UnsetType = UNSET
    familiar: _Measured | UnsetType | None = UNSET
    foreign_recall: _Measured | UnsetType | None = UNSET
    k: Count | UnsetType | None = UNSET
    target: _Measured | UnsetType | None = UNSET
    near_regions: Count | UnsetType | None = UNSET


class TokenCodecEntry(msgspec.Struct, frozen=True):
    """The codec of the vectors of multi-vector documents; ``residual`` is the configuration of its residual quantizer."""

    centroids: Count
    residual: dict[str, Any] | None
    binary: bool


class DocumentsEntry(msgspec.Struct, frozen=True):
    """The multi-vector documents of an index.

    ``vectors_given`` is the number of vectors before reduction; ``store`` is the type of the stored vectors.
    """

    patches: TokenCodecEntry
    dimensions: Count
    vectors: Count
    vectors_given: Count
    keep: float
    pool: float | None
    candidates: str = "fde"
    positions: bool = False
    store: str | None = None


class ProvenanceEntry(msgspec.Struct, frozen=True):
    """The provenance of an index: the version that built it, skipped rows by reason, and the training of `vsearch.jpq`."""

    vsearch: str | UnsetType = UNSET
    skipped: dict[str, int] | UnsetType = UNSET
    jpq: dict[str, Any] | UnsetType = UNSET


class EncodingHeader(msgspec.Struct, frozen=True):
    """The header of an encoded attribute; types and forms are defined in `vsearch.predicates`."""

    name: Text
    type: Text
    form: Text
    rows: Count
    values: Count


class EncodingEntry(msgspec.Struct, frozen=True):
    """The encoding of an attribute in a shard; ``position`` determines its files and arrays."""

    position: Count
    header: EncodingHeader


class SegmentEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A segment in one bundle: a delta or a run.

    ``rows`` includes removed rows; ``ids`` are the minimum and maximum of integer ids; ``removed`` is the number of rows that it
    removes from older segments; ``level`` is the number of times that the rows of a delta were folded.
    """

    number: Count
    bundle: BundleEntry
    rows: Count
    ids: tuple[int, int] | None = None
    level: Count = 0
    removed: Count = 0


class ShardEntry(msgspec.Struct, frozen=True):
    """One shard.

    Its base is a set of files by kind (see `kinds`), with the encodings of its attributes by name, and the segment number
    ``segment``; or, after the first merge, the bundle ``base``. ``young`` is its second run.
    """

    number: Count
    rows: Count
    partitions: Count
    files: dict[str, FileEntry]
    columns: dict[str, EncodingEntry] = {}
    segment: Count | UnsetType = UNSET
    base: SegmentEntry | UnsetType = UNSET
    young: SegmentEntry | UnsetType = UNSET

    @property
    def runs(self) -> tuple[SegmentEntry, ...]:
        """The runs in bundles, the base first."""
        return tuple(run for run in (self.base, self.young) if run is not UNSET)


class AttributeEntry(msgspec.Struct, frozen=True):
    """An attribute: its name, its type, and its field name in segments if that differs from the name."""

    name: Text
    type: Text
    field: Text | UnsetType = UNSET

    @property
    def field_name(self) -> str:
        """The field name in segments."""
        return self.name if self.field is UNSET else self.field


class TokenEntry(msgspec.Struct, frozen=True):
    """The token of a change, and its result."""

    token: Text
    snapshot: Count
    added: Count
    replaced: Count
    deleted: Count


class OperationEntry(msgspec.Struct, frozen=True):
    """The operation that created a snapshot from its predecessor; ``restored`` is the snapshot that a restore restored."""

    kind: Text
    base: Count
    added: Count = 0
    replaced: Count = 0
    deleted: Count = 0
    restored: Count | UnsetType = UNSET


class NumbersEntry(msgspec.Struct, frozen=True):
    """The next numbers of the builds that an index replaced."""

    next_row: Count = 0
    next_segment: _SegmentNumber = 0
    next_field: Count = 0
    next_partition: _PartitionNumber = 0


class LiveEntry(msgspec.Struct, frozen=True):
    """The state of a changed index, besides its shards.

    ``next_row`` is the id of the next row without one; ``next_segment``, ``next_field`` and ``next_partition`` are the numbers of the
    next segment, added column and split partition (0 before the first split). ``trained_rows`` and ``tuned_rows`` are the numbers of
    rows at the last training and tuning, and ``changed`` is the number of rows that were added, replaced and removed since the
    latter. ``origin`` identifies the build that all snapshots descend from; ``pending`` are the options of a training that runs
    once there are enough rows. ``ttl`` is the field of the attribute with the expiry time of each row. ``tags`` are snapshots by
    tag; ``tokens`` are the latest tokens, newest last. ``replaced`` are the greatest numbers of replaced builds with tagged snapshots.
    """

    next_row: Count
    next_segment: _SegmentNumber
    next_field: Count = 0
    next_partition: _PartitionNumber = 0
    trained_rows: Count = 0
    tuned_rows: Count = 0
    changed: Count = 0
    origin: str = ""
    pending: dict[str, Any] | None = None
    deltas: tuple[SegmentEntry, ...] = ()
    tags: dict[str, Count] = {}
    tokens: tuple[TokenEntry, ...] = ()
    operation: OperationEntry | None = None
    ttl: str | None = None
    replaced: NumbersEntry | UnsetType = UNSET


class Manifest(msgspec.Struct, frozen=True):
    """One snapshot."""

    format: int
    snapshot: Count
    writer: Text
    created: Text
    rows: Count
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    metric: Text
    id_type: Text
    quantizer: CodecEntry
    rerank: str | None
    partitions: Count
    seed: int
    model: dict[str, FileEntry]
    shards: tuple[ShardEntry, ...]
    attributes: tuple[AttributeEntry, ...]
    settings: SettingsEntry
    provenance: ProvenanceEntry
    documents: DocumentsEntry | None = None
    text: TextEntry | UnsetType = UNSET
    legs: LegEntries | UnsetType = UNSET
    lineage: tuple[Text, ...] = ()  # writers of the previous snapshots, latest first
    live: LiveEntry | UnsetType = UNSET
    spill: bool | UnsetType = UNSET  # whether rows of runs have copies in second partitions


class _Format(msgspec.Struct):
    format: int


def manifest_files(manifest: Manifest) -> list[FileEntry]:
    """Return all files of a snapshot, those of the model first."""
    of_shards = [entry for shard in manifest.shards for entry in shard.files.values()]
    bundles = [bundle_file(segment.bundle) for segment in manifest_segments(manifest)]
    return [*manifest.model.values(), *of_shards, *bundles]


def manifest_segments(manifest: Manifest) -> list[SegmentEntry]:
    """Return all segments in bundles: runs, then deltas."""
    runs = [run for shard in manifest.shards for run in shard.runs]
    return runs if manifest.live is UNSET else [*runs, *manifest.live.deltas]


def stored_rows(manifest: Manifest) -> int:
    """Return the number of rows in all files, including removed ones."""
    return sum(shard.rows for shard in manifest.shards if not shard.base) + sum(
        segment.rows for segment in manifest_segments(manifest)
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest file.

    Raises
    ------
    CorruptIndexError
        The manifest is invalid.
    """
    body = msgspec.json.encode(manifest, order="sorted")
    data = b'{"crc32c":"%08x","manifest":%b}\n' % (crc32c(body), body)
    decode_manifest(manifest_path(manifest.snapshot), data)
    return data


def decode_manifest(path: str, data: bytes) -> Manifest:
    """Read and check a manifest file.

    Parameters
    ----------
    path : str
        Path of the file; its number must be that of the manifest.
    data : bytes

    Raises
    ------
    CorruptIndexError
        The bytes are damaged, or the manifest is inconsistent.
    FormatVersionError
        The index was written by a newer version.
    """
    envelope = _ENVELOPE.fullmatch(data)
    if envelope is None:
        raise _damaged(path, "is not a complete manifest")
    if int(envelope[1], 16) != crc32c(envelope[2]):
        raise _damaged(path, "its checksum does not match")
    try:
        written = msgspec.json.decode(envelope[2], type=_Format).format
        if written > FORMAT:
            raise FormatVersionError(
                f"{path}: the index has format {written}, this vsearch reads up to {FORMAT}; upgrade vsearch"
            )
        manifest = msgspec.json.decode(envelope[2], type=Manifest)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"is invalid ({error})") from None
    except RecursionError:
        raise _damaged(path, "is nested too deeply") from None
    problem = _problem(path, manifest)
    if problem is not None:
        raise _damaged(path, problem)
    for entry in manifest_files(manifest):
        check_entry(entry)
    for segment in manifest_segments(manifest):
        check_bundle_entry(segment.bundle)
    return manifest


def _problem(path: str, manifest: Manifest) -> str | None:
    if manifest.format < 1:
        return f"format {manifest.format} does not exist"
    if snapshot_number(path) != manifest.snapshot:
        return f"its number is {manifest.snapshot}"
    if [shard.number for shard in manifest.shards] != list(range(len(manifest.shards))):
        return "its shards are not numbered from 0 on"
    if stored_rows(manifest) < manifest.rows:
        return f"its shards do not contain its {manifest.rows} rows"
    if (problem := _live_problem(manifest)) is not None:
        return problem
    if len({a.name for a in manifest.attributes}) != len(manifest.attributes):
        return "two attributes have the same name"
    problem = _columns_problem(manifest) or legs_problem(manifest.legs)
    problem = problem or text_problem(manifest.text, {a.field_name: a.type for a in manifest.attributes})
    if problem is not None:
        return problem
    folders = [(entry.path, "model/") for entry in manifest.model.values()]
    folders += [(e.path, "segments/") for shard in manifest.shards for e in shard.files.values()]
    folders += [(run.bundle.path, "segments/") for run in manifest_segments(manifest)]
    for name, folder in folders:
        if not name.startswith(folder):
            return f"{name!r} does not lie in {folder}"
    return None


def _columns_problem(manifest: Manifest) -> str | None:
    """Return a problem if the base of a shard lacks an attribute of the build, unless legs may leave attributes unencoded."""
    fields = [] if manifest.legs else [attribute.field_name for attribute in manifest.attributes]
    if manifest.live:
        fields = [field for field in fields if not _ADDED_FIELD.fullmatch(field)]
    for shard in manifest.shards:
        missing = [] if shard.base else [field for field in fields if field not in shard.columns]
        if missing:
            return f"shard {shard.number} has no column {missing[0]!r}"
    return None


def _live_problem(manifest: Manifest) -> str | None:
    """Return the first inconsistency of a changed index, if any."""
    live = manifest.live
    if not live:
        changed = any(shard.base or shard.young or shard.segment is not UNSET for shard in manifest.shards)
        return "its shards have segments, but it has no changes" if changed else None
    if manifest.format < FORMAT:
        return f"it has changes, which format {manifest.format} does not support"
    numbers = [run.number for run in manifest_segments(manifest)]
    for shard in manifest.shards:
        if shard.base and shard.base.rows != shard.rows:
            return f"shard {shard.number} has {shard.rows} rows, its base {shard.base.rows}"
        if not shard.base and shard.segment is UNSET:
            return f"shard {shard.number} has no segment number"
        numbers += [shard.segment] if not shard.base and shard.segment is not UNSET else []
    if len(set(numbers)) != len(numbers) or max(numbers, default=-1) >= live.next_segment:
        return "the numbers of its segments are inconsistent"
    paths = [run.bundle.path for run in manifest_segments(manifest)]
    if len(set(paths)) != len(paths):
        return "two of its segments refer to one file"
    restored = UNSET if live.operation is None else live.operation.restored
    if restored is not UNSET and restored >= manifest.snapshot:
        return f"it restores snapshot {restored}, which is not older"
    fields = [attribute.field_name for attribute in manifest.attributes]
    if len(set(fields)) != len(fields):
        return "two attributes have the same field"
    if live.ttl is not None and live.ttl not in fields:
        return f"its rows expire by {live.ttl!r}, which is not one of its fields"
    return None


def _damaged(path: str, reason: str) -> CorruptIndexError:
    return CorruptIndexError(path, f"{reason}; restore it from a copy or open another snapshot")
