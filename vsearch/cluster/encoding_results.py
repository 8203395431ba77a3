"""Jobs that encode what the rows are made of, texts or documents: the texts, and what the tasks leave."""

from __future__ import annotations

import msgspec

from vsearch.cluster.data_files import DataFile
from vsearch.storage import FileEntry
from vsearch.storage.snapshots.manifest import TokenCodecEntry
from vsearch.storage.snapshots.text_entries import TextEntry


class Texts(msgspec.Struct, frozen=True):
    """The texts that a build encodes.

    Attributes
    ----------
    column : str
    encoder : str
        Digest of the encoder's files.
    dimensions : int
        Of its vectors.
    missing : {"error", "skip"}
        What to do with rows without a text.
    task_rows : int
        Number of rows whose texts one task encodes.
    """

    column: str
    encoder: str
    dimensions: int
    missing: str
    task_rows: int


class Legs(msgspec.Struct, frozen=True):
    """The legs that a build writes: its text columns, and the attribute of weights; None without these."""

    text: TextEntry | None = None
    sparse: str | None = None


class Weighed(msgspec.Struct, frozen=True):
    """Result of ``weights``: the step of the weights."""

    step: float


class EncoderFiles(msgspec.Struct, frozen=True):
    """Result of ``encoder``: the files of the encoder that was passed, by name."""

    files: dict[str, DataFile]


class Embedded(msgspec.Struct, frozen=True):
    """Result of ``embed``: vectors of the texts of some rows, with the numbers of these rows; None if none has a text."""

    file: DataFile | None

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return 0 if self.file is None else self.file.entry.rows


class Attached(msgspec.Struct, frozen=True):
    """Result of ``attach``: the files of the index's encoder, by their kinds."""

    files: dict[str, FileEntry]


class Reduced(msgspec.Struct, frozen=True):
    """Result of ``reduce``: the documents of some rows.

    Attributes
    ----------
    vectors : DataFile
        Their vectors, with the position of each in its input document.
    lengths : DataFile
        Number of vectors of each document, and its row.
    input_vectors : int
        Number of vectors before the reduction.
    largest : int
        The largest position.
    reasons : dict
        Number of documents without usable vectors, by reason.
    unusable : tuple of int
        The rows of the first of these.
    """

    vectors: DataFile | None
    lengths: DataFile | None
    input_vectors: int
    largest: int
    reasons: dict[str, int]
    unusable: tuple[int, ...]


class Numbered(msgspec.Struct, frozen=True):
    """Result of ``number``: where the vectors of each document are, and what the index is trained on.

    Attributes
    ----------
    offsets : DataFile
        int64 (documents + 1,).
    rows : DataFile
        The row of each document.
    edges, document_edges : tuple of int
        The first vector and document of each task of ``reduce``, and the numbers of vectors and documents.
    batches : DataFile
        The first document of each batch that is encoded at a time, and the number of documents.
    vectors, documents : DataFile
        The vectors and documents to train on.
    input_vectors, largest : int
        See `Reduced`.
    task_batches : int
        Number of batches that one task encodes.
    reasons : dict
        Number of documents that are left out, by reason.
    warning : str or None
    """

    offsets: DataFile
    rows: DataFile
    edges: tuple[int, ...]
    document_edges: tuple[int, ...]
    batches: DataFile
    vectors: DataFile
    documents: DataFile
    input_vectors: int
    largest: int
    task_batches: int
    reasons: dict[str, int]
    warning: str | None


class Drawn(msgspec.Struct, frozen=True):
    """Result of ``draw``: the vectors and the vectors of documents to train on, of some rows; None if there are none."""

    vectors: DataFile | None
    documents: DataFile | None


class DocumentCodec(msgspec.Struct, frozen=True):
    """Result of ``codec``.

    Attributes
    ----------
    arrays : tuple of DataFile
        Arrays of the codec of the vectors and of the encoding of documents.
    patches : TokenCodecEntry
    model : dict
        The same arrays as files of the index, by kind.
    queries : DataFile
        Encoded queries for tuning.
    shards : int
    """

    arrays: tuple[DataFile, ...]
    patches: TokenCodecEntry
    model: dict[str, FileEntry]
    queries: DataFile
    shards: int


class ExchangedDocuments(msgspec.Struct, frozen=True):
    """The documents of a chunk by shard: their vectors with positions, their lengths, and the first vector of each shard."""

    vectors: DataFile
    lengths: DataFile
    edges: tuple[int, ...]
