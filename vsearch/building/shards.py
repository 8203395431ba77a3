"""Write the files of one shard: codes, rerank codes, ids, attributes, and those of extensions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.layout import ShardRows, Take, lay_out
from vsearch.search.state.model import Model
from vsearch.storage import (
    CHECKSUMS,
    DocumentsEntry,
    EncodingEntry,
    EncodingHeader,
    FileEntry,
    ShardEntry,
    Store,
    join_checksums,
    write_arrays,
    write_table,
)
from vsearch.storage.files.naming import segment_path
from vsearch.storage.snapshots.kinds import ATTRIBUTES, CELLS, CODES, IDS, PARTITIONS, RERANK, ROWS, column_kind

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.storage.snapshots.text_entries import TextEntry

WriteArrays = Callable[[str, dict[str, NDArray[Any]]], None]
"""Writes one file of a shard, given its kind and its arrays by name."""


class PartWriter(Protocol):
    """An extension of an index, such as multi-vector documents, whose files are written and committed with those of the vectors.

    It may have an attribute `unencoded`, the names of columns of the attributes that get no encoding for predicates; see `Leg.unencoded`.
    """

    @property
    def name(self) -> str:
        """The manifest field or the leg that describes the part; the kinds of its model files begin with this name and a colon."""

    @property
    def kinds(self) -> frozenset[str]:
        """File kinds that the part may write for each shard; reserved for it."""

    def model(self) -> dict[str, NDArray[Any]]:
        """Arrays shared by all shards."""

    def check(self, attributes: pa.Schema | None) -> None:
        """Check the attributes of the input, before anything is written; raise InputError if the part cannot use them."""

    def entry(self) -> DocumentsEntry | TextEntry | dict[str, Any]:
        """The part's entry in the manifest; for a leg, a dict of JSON values."""

    def write_shard(self, rows: NDArray[np.int64], arrays: WriteArrays, attributes: pa.Table | None) -> None:
        """Write the files of a shard by calling ``arrays(kind, arrays)`` for each.

        The shard holds these input rows, in this order; `attributes` are theirs.
        """


class TakesIds(Protocol):
    """Ids of the rows of a shard."""

    @property
    def kind(self) -> str:
        """``"row"``, ``"int64"`` or ``"string"``."""

    def take(self, rows: NDArray[np.int64]) -> Any:
        """The ids of these rows: int64, or a pyarrow string array."""


class TakesColumns(Protocol):
    """Attributes of the rows of a shard."""

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The attributes of these rows, in this order."""


@dataclass(frozen=True, eq=False)
class ShardContent:
    """The data written for the rows of a shard.

    Attributes
    ----------
    take : callable
        Returns prepared vectors float32 (n, d) of rows.
    columns : TakesColumns or None
    ids : TakesIds
    all_rows : int
        Number of rows in all shards.
    parts : sequence of PartWriter
    spill : bool
        Whether each row has a copy in a second partition.
    """

    take: Take
    columns: TakesColumns | None
    ids: TakesIds
    all_rows: int
    parts: Sequence[PartWriter] = ()
    spill: bool = False


def write_shard(
    store: Store,
    writer: str,
    number: int,
    shard: ShardRows,
    content: ShardContent,
    model: Model,
    report: Callable[[int], None],
) -> ShardEntry:
    """Encode and write a shard; takes memory for its codes plus a few chunks of vectors.

    Parameters
    ----------
    writer : str
        Names of its files begin with it.
    report : callable
        Called with the number of rows just encoded.
    """
    files: dict[str, FileEntry] = {}
    sums: dict[str, NDArray[np.uint32]] = {}
    encodings: dict[str, EncodingEntry] = {}

    def arrays(kind: str, of_kind: dict[str, NDArray[Any]]) -> None:
        if of_kind:
            files[kind], sums[kind] = write_arrays(store, segment_path(writer, number, kind), of_kind)

    def table(kind: str, of_kind: pa.Table) -> None:
        files[kind], sums[kind] = write_table(store, segment_path(writer, number, kind), of_kind)

    layout = lay_out(shard, content.take, model, report, spill=content.spill)
    arrays(CODES, layout.codes)
    arrays(ROWS, layout.rows)
    arrays(RERANK, layout.rerank)
    arrays(PARTITIONS, layout.partitions)
    for kind, copies in layout.copies.items():
        arrays(kind, copies)
    del layout
    _write_ids(shard, content, arrays, table)
    exact = None if content.columns is None else content.columns.take(shard.rows)
    if exact is not None:
        table(ATTRIBUTES, exact)
        unencoded = {name for part in content.parts for name in getattr(part, "unencoded", ())}
        encodings = _write_columns(exact, unencoded, arrays)
    for part in content.parts:
        part.write_shard(shard.rows, _own_kinds(part, files, arrays), exact)
    path = segment_path(writer, number, CHECKSUMS)
    files[CHECKSUMS], _ = write_arrays(store, path, {"crc32c": join_checksums(sums)})
    return ShardEntry(number, len(shard.rows), len(shard.counts), files, encodings)


def _write_ids(shard: ShardRows, content: ShardContent, arrays: WriteArrays, table: Callable[..., None]) -> None:
    values = content.ids.take(shard.rows)
    if content.ids.kind == "string":
        import pyarrow as pa

        table(IDS, pa.table({"id": values}))
        return
    numbers = np.asarray(values, np.int64)
    small = content.ids.kind == "row" and content.all_rows <= 2**32
    arrays(IDS, {"id": numbers.astype(np.uint32) if small else numbers})


def _write_columns(exact: pa.Table, unencoded: Collection[str], arrays: WriteArrays) -> dict[str, EncodingEntry]:
    """Write cells and postings of every attribute that is encoded; arrays of the same length share a file."""
    from vsearch.predicates import encode_column, schema_from_arrow

    schema = schema_from_arrow(exact.schema)
    cells: dict[str, NDArray[Any]] = {}
    encodings: dict[str, EncodingEntry] = {}
    for position, attribute in enumerate(schema):
        if attribute.name in unencoded:
            continue
        encoded = encode_column(attribute.name, attribute.type, exact.column(attribute.name))
        header = msgspec.convert(msgspec.to_builtins(encoded.header()), EncodingHeader)
        encodings[attribute.name] = EncodingEntry(position, header)
        by_length: dict[int, dict[str, NDArray[Any]]] = {}
        for key, array in encoded.arrays().items():
            if key == "cells":
                cells[str(position)] = array
            else:
                by_length.setdefault(len(array), {})[key] = array
        for length, together in by_length.items():
            arrays(column_kind(position, length), together)
    arrays(CELLS, cells)
    return encodings


def _own_kinds(part: PartWriter, files: Mapping[str, FileEntry], arrays: WriteArrays) -> WriteArrays:
    """Restrict `arrays` to the file kinds of a part, each written at most once per shard."""

    def write(kind: str, of_kind: dict[str, NDArray[Any]]) -> None:
        if kind not in part.kinds or kind in files:
            raise ValueError(f"part {part.name!r} may write each of its file kinds once per shard, got {kind!r}")
        arrays(kind, of_kind)

    return write
