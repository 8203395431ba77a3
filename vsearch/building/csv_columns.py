"""CSV files: types found over the whole file, then typed record batches, never the file in memory.

An empty field is NULL; a quoted empty one is an empty string. In columns that are not text the words of
`NULL_WORDS` are NULL too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsearch.building.files import reading
from vsearch.errors import InputError

NULL_WORDS = ("NULL", "null", "NA", "N/A", "None")
"""Read as NULL in columns of numbers, bools, dates and timestamps."""

_BLOCK_BYTES = 8 << 20


def csv_batches(path: Path) -> tuple[Any, Iterator[Any]]:
    """Open a CSV (or, by its name, tab-separated) file with a header line.

    Returns
    -------
    schema : pyarrow.Schema
        The narrowest type that every value of a column has: int64, uint64, float64, bool, date32,
        timestamp, else string.
    batches : iterator of pyarrow.RecordBatch

    Raises
    ------
    InputError
        Empty, not UTF-8, without distinct column names, or rows that differ in length.
    """
    import pyarrow as pa

    names = _names(path)
    candidates = {name: _ladder() for name in names}
    seen = dict.fromkeys(names, False)
    for batch in _text_batches(path, names):
        for name in names:
            column = batch.column(name)
            words = _without_null_words(column)
            seen[name] = seen[name] or words.null_count < len(words)
            candidates[name] = [kind for kind in candidates[name] if _can_cast(words, kind)]
    kinds = [candidates[name][0] if seen[name] and candidates[name] else pa.string() for name in names]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    return schema, (_typed(batch, schema) for batch in _text_batches(path, names))


def _ladder() -> list[Any]:
    import pyarrow as pa

    stamps = [pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("us", "ns")]
    return [pa.int64(), pa.uint64(), pa.float64(), pa.bool_(), pa.date32(), *stamps]


def _can_cast(column: Any, kind: Any) -> bool:
    import pyarrow as pa

    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _without_null_words(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_null = pc.is_in(column, value_set=pa.array(NULL_WORDS))
    return pc.if_else(is_null, pa.scalar(None, pa.string()), column)


def _typed(batch: Any, schema: Any) -> Any:
    import pyarrow as pa

    columns = [
        batch.column(field.name)
        if pa.types.is_string(field.type)
        else _without_null_words(batch.column(field.name)).cast(field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _names(path: Path) -> list[str]:
    with reading(path, "CSV"), _open(path, None) as reader:
        names = [str(name) for name in reader.schema.names]
    if len(set(names)) != len(names) or not all(names):
        msg = f"{path}: the first line must hold distinct column names; it holds: {', '.join(names)}"
        raise InputError(msg)
    return names


def _text_batches(path: Path, names: list[str]) -> Iterator[Any]:
    with reading(path, "CSV"), _open(path, names) as reader:
        yield from reader


def _open(path: Path, text: list[str] | None) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    tabs = ".tsv" in path.suffixes[-2:]
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(text or [], pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
