"""Copies of an index as one file, with vectors, that other libraries read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import numpy as np

from vsearch.api.opened import OpenedIndex, rereads
from vsearch.api.reading import MOST
from vsearch.checks import check_whole
from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

VECTOR = "vector"
"""Column of the vectors; an attribute of this name becomes ``attribute.vector``."""

FORMATS = (".parquet", ".arrow")


class ExportableIndex(OpenedIndex):
    """Export to files."""

    @rereads
    def export(
        self,
        file: str | os.PathLike[str],
        where: Where = None,
        columns: Sequence[str] | None = None,
        *,
        vectors: bool = True,
        batch_rows: int = 10_000,
        overwrite: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> int:
        """Write the rows that satisfy a predicate to a Parquet or Arrow file, batch by batch, and return their number.

        The columns are ``id``, the attributes, and ``vector``, as exact as `Index.vectors` returns them (of multi-vector documents,
        a list of vectors). `vsearch.build` reads the file: ``build("rows.parquet", url, vectors="vector", id="id")``. The rows are in
        the order in which they are stored.

        Parameters
        ----------
        file : path
            Ends in ``.parquet`` or ``.arrow``. It appears only when it is complete: rows are first written to a temporary file next to it.
        where : str, dict or expression, optional
        columns : sequence of str, optional
            Attributes; all by default.
        vectors : bool
            Whether to decode and write the vectors.
        batch_rows : int
            Rows in memory at a time.
        overwrite : bool
            Replace an existing file.
        progress : callable, optional
            Called with ``(stage, done, total)``.

        Raises
        ------
        InputError
            The file name has another ending, the file already exists, or an option is invalid.
        PredicateError
            `where` is not a valid predicate on the attributes.
        """
        from vsearch.search.listing import passing_rows

        check_whole("batch_rows", batch_rows, MOST)
        path = check_export(file, overwrite=overwrite)
        snapshot = self._current()
        rows = passing_rows(snapshot, where)
        empty = _table(snapshot, rows[:0], columns, vectors=vectors)
        unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with _writer(unfinished, path.suffix, _schema(snapshot, empty.schema, vectors=vectors)) as writer:
                for start in range(0, len(rows), batch_rows):
                    table = _table(snapshot, rows[start : start + batch_rows], columns, vectors=vectors)
                    writer.write_table(table.cast(writer.schema))
                    if progress is not None:
                        progress("exporting", min(start + batch_rows, len(rows)), len(rows))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return len(rows)


def check_export(file: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Return the path of a file to write.

    Raises
    ------
    InputError
        Its ending is unknown, its folder does not exist, or it is a folder or an existing file.
    """
    path = Path(file)
    if path.suffix not in FORMATS:
        raise InputError(f"file must end in {' or '.join(FORMATS)}, got {str(path)!r:.200}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    if path.is_dir():
        raise InputError(f"file must be the path of a file, got the folder {path}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; pass overwrite=True, or --overwrite, to replace it")
    return path


def _table(snapshot: Snapshot, rows: Any, columns: Sequence[str] | None, *, vectors: bool) -> pa.Table:
    from vsearch.search.listing import make_table

    table = make_table(snapshot, rows, columns)
    names = table.column_names
    if vectors:
        names = [f"attribute.{VECTOR}" if name == VECTOR else name for name in names]
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise InputError(f"two columns of the file would be named {twice!r:.100}; leave one attribute out with columns")
    return table.rename_columns(names).append_column(VECTOR, _vectors(snapshot, rows)) if vectors else table


def _vectors(snapshot: Snapshot, rows: Any) -> pa.Array:
    import pyarrow as pa

    if snapshot.manifest.documents is None:
        from vsearch.search.state.decoding import decode_vectors

        decoded = decode_vectors(snapshot, rows)
        return pa.FixedSizeListArray.from_arrays(pa.array(decoded.reshape(-1)), decoded.shape[1])
    from vsearch.multivector.reading import read_vectors

    matrices, _ = read_vectors(snapshot, rows)
    offsets = np.concatenate([[0], np.cumsum([len(matrix) for matrix in matrices])]).astype(np.int32)
    width = snapshot.manifest.documents.dimensions
    flat = np.concatenate([np.empty((0, width), np.float32), *matrices])
    inner = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width)
    return pa.ListArray.from_arrays(pa.array(offsets), inner)


def _schema(snapshot: Snapshot, schema: pa.Schema, *, vectors: bool) -> pa.Schema:
    """Return a schema with the origin of the rows in its metadata."""
    about = {"vsearch.snapshot": str(snapshot.manifest.snapshot), "vsearch.metric": snapshot.manifest.metric}
    if vectors:
        about["vsearch.codes"] = snapshot.model.rerank or "codes"
    return schema.with_metadata(about)


def _writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.ParquetWriter(path, schema)
    return _ArrowWriter(path, schema)


class _ArrowWriter:
    """Writes an Arrow file as `pyarrow.parquet.ParquetWriter` does a Parquet file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa

        self.schema = schema
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._file.close()

    def write_table(self, table: pa.Table) -> None:
        self._writer.write_table(table)
