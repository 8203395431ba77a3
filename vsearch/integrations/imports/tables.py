"""Tables in Arrow: those of LanceDB, and Parquet files with embeddings, such as datasets on Hugging Face."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.integrations.imports.source import BATCH, ID, VECTOR, Source, free_name

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: str, vector: str | None = None, id: str | None = None) -> Source:
    """Open a Parquet file, a folder of them, or a pattern such as ``"data/train-*.parquet"``.

    Raises
    ------
    InputError
        There is no such file, one is damaged, they differ in their columns, or there is not one column of vectors.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if Path(path).is_dir():
        files = sorted(map(str, Path(path).rglob("*.parquet")))
    else:
        files = [path] if Path(path).is_file() else sorted(glob.glob(path))  # noqa: PTH207  patterns with folders
    if not files:
        raise InputError(f"{path}: there is no Parquet file")

    def opened(file: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} is not a Parquet file: {str(error)[:200]}") from None

    schema = opened(files[0]).schema_arrow

    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            with opened(file) as parquet:
                if parquet.schema_arrow != schema:
                    raise InputError(f"{file} has other columns than {files[0]}")
                try:
                    yield from parquet.iter_batches(BATCH)
                except (pa.ArrowException, OSError) as error:
                    raise InputError(f"{file} is damaged: {str(error)[:200]}") from None

    return source_of_tables(schema, batches(), vector, id)


def source_of_tables(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], vector: str | None, id: str | None
) -> Source:
    """Return the source of rows in Arrow, with the columns of vectors and ids renamed to ``vector`` and ``id``.

    Parameters
    ----------
    vector : str or None
        The column of vectors; by default, the only one that can hold vectors.
    id : str or None
        The column of ids. By default a column ``id`` of integers or strings; row numbers if there is none.

    Raises
    ------
    InputError
        Columns share a name, or there is no column of vectors or ids with the given name.
    """
    import pyarrow as pa

    if twice := next((name for place, name in enumerate(schema.names) if name in schema.names[:place]), None):
        raise InputError(f"several columns are named {twice!r:.100}; names must differ")
    vector = _vector_column(schema, vector)
    if id is not None and id not in schema.names:
        raise InputError(f"there is no column {id!r:.100}; there are {', '.join(schema.names)[:300]}")
    if id is None and ID in schema.names and _can_be_ids(schema.field(ID).type):
        id = ID
    others = [name for name in schema.names if name not in {vector, id}]
    ids = pa.field(ID, pa.int64()) if id is None else pa.field(ID, schema.field(id).type)
    fields = [ids, pa.field(VECTOR, schema.field(vector).type)]
    schema_of_ids = pa.schema([*fields, *(pa.field(free_name(name), schema.field(name).type) for name in others)])

    def renamed() -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in batches:
            numbers = pa.array(range(done, done + len(batch)), pa.int64()) if id is None else batch.column(id)
            done += len(batch)
            columns: list[Any] = [numbers, batch.column(vector), *(batch.column(name) for name in others)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema_of_ids)

    return Source(schema_of_ids, renamed())


def _vector_column(schema: pa.Schema, vector: str | None) -> str:
    from pyarrow import types

    def fits(kind: pa.DataType) -> bool:
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return lists and types.is_floating(kind.value_type)

    fitting = [field.name for field in schema if fits(field.type)]
    if vector is not None:
        if vector not in schema.names or not fits(schema.field(vector).type):
            raise InputError(
                f"there is no column of vectors {vector!r:.100}; there are {', '.join(fitting)[:300] or 'none'}"
            )
        return vector
    if len(fitting) != 1:
        raise InputError(f"name the column of vectors with --vector; there are {', '.join(fitting)[:300] or 'none'}")
    return fitting[0]


def _can_be_ids(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)
