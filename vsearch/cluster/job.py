"""Jobs: input, output and options of a build or a change. The id is a digest of these, so the same command finds its job again."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from vsearch.building.inputs.prefix_files import FileHeader, FilesPlan, FoundFile
from vsearch.building.training import BuildOptions
from vsearch.cluster.data_files import DataFile, Piece
from vsearch.cluster.encoding_results import (
    Attached,
    DocumentCodec,
    Drawn,
    Embedded,
    EncoderFiles,
    ExchangedDocuments,
    Legs,
    Numbered,
    Reduced,
    Texts,
    Weighed,
)
from vsearch.multivector.training import DocumentOptions
from vsearch.quantizers.pq import PQ
from vsearch.storage import CodecEntry, FileEntry, SettingsEntry, ShardEntry
from vsearch.storage.snapshots.manifest import SegmentEntry


class Columns(msgspec.Struct, frozen=True):
    """The columns of the source to use, as passed by the user; None for the default."""

    vectors: str | None = None
    id: str | None = None
    attributes: tuple[str, ...] | None = None


class JobOptions(msgspec.Struct, frozen=True):
    """Options of the build; for a `PQ` specification, `parts` holds its options and `quantizer` is empty."""

    metric: str
    quantizer: str
    bits: float
    rerank: str | None
    partitions: int | None
    shards: int | None
    seed: int
    ttl: str | None = None
    parts: tuple[int, int, bool] | None = None
    spill: bool = False

    def build_options(self) -> BuildOptions:
        """The options in the form of a build in one process."""
        quantizer: Any = self.quantizer if self.parts is None else PQ(*self.parts)
        return BuildOptions(
            self.metric,  # type: ignore[arg-type]
            quantizer,
            self.bits,
            self.rerank,
            self.partitions,
            self.shards,
            self.seed,
            self.spill,
        )


class Job(msgspec.Struct, frozen=True):
    """A build, or a change of an index.

    Attributes
    ----------
    version : str
        Version of this package; others may train, encode or divide differently.
    source : str
        URL of the prefix.
    files : tuple of FoundFile
        The listed files, with sizes and times, so that changed files result in another job.
    files_per_task, chunk_bytes, bucket_rows : int
        See `Division`.
    kind : {"build", "append", "optimize", "retrain"}
    subject : tuple of str
        For changes: what distinguishes this change of the index from others, such as a token.
    known : tuple of str
        For appends: the attributes of the index.
    texts : Texts or None
        For builds from texts.
    documents : DocumentOptions or None
        For builds of multi-vector documents.
    document_rows : int
        Number of documents that one task reads.
    legs : Legs or None
        For builds with text columns or weights.
    missing : {"error", "skip"}
        What to do with documents without usable vectors.
    """

    version: str
    source: str
    files: tuple[FoundFile, ...]
    columns: Columns
    options: JobOptions
    files_per_task: int
    chunk_bytes: int
    bucket_rows: int
    kind: str = "build"
    subject: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    texts: Texts | None = None
    documents: DocumentOptions | None = None
    document_rows: int = 0
    legs: Legs | None = None
    missing: str = "error"

    @property
    def id(self) -> str:
        """Id of the job: 32 hex digits."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=16).hexdigest()


class Begun(msgspec.Struct, frozen=True):
    """A job that was started; `generation` distinguishes it from the same job started again after it finished."""

    generation: str
    job: Job


class Headers(msgspec.Struct, frozen=True):
    """Result of a task of the stage ``files``."""

    headers: tuple[FileHeader, ...]


class Plan(msgspec.Struct, frozen=True):
    """Result of the stage ``plan``.

    Attributes
    ----------
    files : FilesPlan
    vectors, id : str or None
        Columns of tables.
    attributes : tuple of str or None
        Columns that become attributes.
    id_kind : str
        ``"row"``, ``"int64"`` or ``"string"``.
    dimensions : int
    dtype : str
        Stored element type of the vectors.
    chunk_rows : int
        A multiple of the number of rows that are assigned at a time.
    buckets : int
        Number of buckets in which ids are checked for duplicates; 0 without ids.
    warnings : tuple of str
    edges : tuple of int
        For texts and documents: the first row of each task that encodes them, and the number of rows; rows without a text are not
        counted.
    reasons : dict
        Number of documents that are left out, by reason.
    """

    files: FilesPlan
    vectors: str | None
    id: str | None
    attributes: tuple[str, ...] | None
    id_kind: str
    dimensions: int
    dtype: str
    chunk_rows: int
    buckets: int
    warnings: tuple[str, ...]
    edges: tuple[int, ...] = ()
    reasons: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.edges[-1] if self.edges else self.files.rows

    @property
    def skipped(self) -> dict[str, int]:
        """Number of rows of the files that are left out, by reason."""
        if self.reasons:
            return self.reasons
        without_text = self.files.rows - self.rows
        return {"NULL": without_text} if without_text else {}

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.rows // self.chunk_rows)

    def chunk(self, number: int) -> tuple[int, int]:
        """First row of a chunk, and the row after its last."""
        return number * self.chunk_rows, min((number + 1) * self.chunk_rows, self.rows)


class Picked(msgspec.Struct, frozen=True):
    """Result of ``sample`` and ``gather``: vectors of some rows of a chunk; None if there are none."""

    file: DataFile | None


class TrainedFiles(msgspec.Struct, frozen=True):
    """Result of ``train``."""

    files: tuple[DataFile, ...]
    codec: CodecEntry


class Assigned(msgspec.Struct, frozen=True):
    """Result of ``assign``: the partition of each row of a chunk; keys of its ids, and the start of each bucket."""

    members: DataFile
    keys: DataFile | None
    edges: tuple[int, ...]


class Distinct(msgspec.Struct, frozen=True):
    """Result of ``ids``: the number of ids, which are all distinct."""

    ids: int


class Divided(msgspec.Struct, frozen=True):
    """Result of ``split``: the partition of each row, the centroids, and the partitions that are still oversized."""

    members: DataFile
    centroids: DataFile
    oversize: tuple[int, ...]


class Dealt(msgspec.Struct, frozen=True):
    """Result of ``deal``.

    Attributes
    ----------
    model : dict
        Files of the model by kind.
    codec : CodecEntry
    members, counts : DataFile
        The final partition of each row, and the rows of each partition.
    edges : tuple of int
        The first partition of each shard; the last entry is the number of partitions.
    """

    model: dict[str, FileEntry]
    codec: CodecEntry
    members: DataFile
    counts: DataFile
    edges: tuple[int, ...]

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.edges) - 1


class Exchanged(msgspec.Struct, frozen=True):
    """Result of ``exchange``: rows of a chunk by shard, the start of each shard, and their columns by shard."""

    vectors: DataFile
    edges: tuple[int, ...]
    columns: str | None
    pieces: tuple[Piece, ...]
    documents: ExchangedDocuments | None = None


class Written(msgspec.Struct, frozen=True):
    """Result of ``shard``."""

    shard: ShardEntry


class Tuned(msgspec.Struct, frozen=True):
    """Result of ``tune``."""

    settings: SettingsEntry


class Based(msgspec.Struct, frozen=True):
    """Result of ``base``: the snapshot that a round of an append applies to.

    Attributes
    ----------
    snapshot : int
    manifest : bytes
        Its manifest, encoded; the snapshot itself may be pruned.
    encoded : int
        The round whose deltas are appended: this one, or an earlier one whose deltas are still valid.
    first : int
        Number of the first row, in an index that numbers its rows.
    positions : DataFile or None
        For a retraining: the rows that it is trained on, which are its source.
    """

    snapshot: int
    manifest: bytes
    encoded: int = 0
    first: int = 0
    positions: DataFile | None = None


class Encoded(msgspec.Struct, frozen=True):
    """Result of ``encode``: the delta with the rows of a chunk; keys of its ids, and the start of each bucket."""

    delta: SegmentEntry
    keys: DataFile | None
    edges: tuple[int, ...]


class Checked(msgspec.Struct, frozen=True):
    """Result of ``check``: how many ids of a chunk belong to expired rows of the index; none belongs to another row."""

    expired: int


class Pieces(msgspec.Struct, frozen=True):
    """Result of ``pieces``: the split of partitions that are too large; without files if there are none.

    Attributes
    ----------
    model : FileEntry or None
        Centroids and numbers of all partitions.
    places, rows : DataFile or None
        The new position of each old partition; rows that are split, with the new partition of each.
    added : tuple of int
        Number of new partitions of each shard.
    count : int
        Number of partitions that are split.
    """

    model: FileEntry | None = None
    places: DataFile | None = None
    rows: DataFile | None = None
    added: tuple[int, ...] = ()
    count: int = 0


class Merged(msgspec.Struct, frozen=True):
    """Result of ``merge``: the new run of a shard, and where its rows came from; None for a run without rows."""

    run: SegmentEntry | None
    moved: DataFile | None
    rows: int


RESULTS: dict[str, type[msgspec.Struct]] = {
    "encoder": EncoderFiles,
    "files": Headers,
    "texts": Plan,
    "documents": Plan,
    "reduce": Reduced,
    "number": Numbered,
    "draw": Drawn,
    "codec": DocumentCodec,
    "embed": Embedded,
    "plan": Plan,
    "attach": Attached,
    "sample": Picked,
    "train": TrainedFiles,
    "assign": Assigned,
    "ids": Distinct,
    "split": Divided,
    "gather": Picked,
    "deal": Dealt,
    "exchange": Exchanged,
    "weights": Weighed,
    "shard": Written,
    "tune": Tuned,
    "base": Based,
    "encode": Encoded,
    "check": Checked,
    "pieces": Pieces,
    "merge": Merged,
    "settings": Tuned,
}
"""The record that a task of each stage writes, in the order of the stages."""
