"""CSV files: infer types in one pass over the whole file, then read typed record batches, without loading the file.

An empty field is NULL. A quoted empty field is an empty string in text columns and NULL in others, as are the words in
`NULL_WORDS`. An empty line is NULL in a file with one column and is ignored otherwise. Leading columns without a name,
where pandas writes an index, are named as by `DataFrame.reset_index`: ``index``, or ``level_0`` and so on. Fields are
separated by commas; by tabs in a ``.tsv`` file; by semicolons, tabs or vertical bars if these occur in the first line and commas
do not. Integers beyond 64 bits become decimals, and beyond the 38 digits of a decimal they stay text: float64 would round them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vsearch.building.inputs.files import reading
from vsearch.errors import InputError

NULL_WORDS = ("", "NULL", "null", "NA", "N/A", "None")
"""Read as NULL in numeric, bool, date and timestamp columns."""

_BLOCK_BYTES = 8 << 20
_HEADER_BYTES = 1 << 16
_QUOTED = re.compile(rb'"[^"]*"')
_INTEGER = r"^[+-]?[0-9]+$"
_LONG_INTEGER = r"^[+-]?[0-9]{39,}$"


def csv_batches(path: Path) -> tuple[Any, Iterator[Any]]:
    """Open a CSV (or, by its suffix, tab-separated) file with a header line.

    Returns
    -------
    schema : pyarrow.Schema
        For each column the narrowest type that fits all values: int64, uint64, decimal(38, 0), float64, bool, date32,
        timestamp, else string.
    batches : iterator of pyarrow.RecordBatch

    Raises
    ------
    InputError
        The file is empty or not UTF-8, column names are missing or repeated, or rows differ in length.
    """
    import pyarrow as pa

    names = _names(path)
    candidates = {name: _ladder() for name in names}
    has_values = dict.fromkeys(names, False)
    for batch in _text_batches(path, names):
        for name in names:
            column = batch.column(name)
            words = _without_null_words(column)
            has_values[name] = has_values[name] or words.null_count < len(words)
            candidates[name] = _possible(words, candidates[name])
    kinds = [candidates[name][0] if has_values[name] and candidates[name] else pa.string() for name in names]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    blank = {name for name in names if not has_values[name]}
    return schema, (_typed(batch, schema, blank) for batch in _text_batches(path, names))


def _ladder() -> list[Any]:
    import pyarrow as pa

    stamps = [pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("us", "ns")]
    integers = [pa.int64(), pa.uint64(), pa.decimal128(38, 0), pa.string()]
    return [*integers, pa.float64(), pa.bool_(), pa.date32(), *stamps]


def _possible(column: Any, kinds: list[Any]) -> list[Any]:
    """The types among `kinds` that fit every value; string is a candidate only for integers that no other type holds."""
    import pyarrow as pa

    fitting = [kind for kind in kinds if not _is_wide(kind) and _can_cast(column, kind)]
    if pa.int64() in fitting:  # values that fit int64 also fit the wide types
        return [kind for kind in kinds if kind in fitting or _is_wide(kind)]
    return [kind for kind in kinds if kind in fitting or (_is_wide(kind) and _can_cast(column, kind))]


def _is_wide(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_decimal(kind) or pa.types.is_string(kind))


def _can_cast(column: Any, kind: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if _is_wide(kind):  # a cast would accept 1.0 and 1e3 as well, and wrap around beyond 38 digits
        all_integers = pc.all(pc.match_substring_regex(column, _INTEGER)).as_py() is not False
        too_long = pa.types.is_decimal(kind) and pc.any(pc.match_substring_regex(column, _LONG_INTEGER)).as_py()
        return all_integers and not too_long
    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _without_null_words(column: Any, words: Sequence[str] = NULL_WORDS) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_null = pc.is_in(column, value_set=pa.array(words))
    return pc.if_else(is_null, pa.scalar(None, pa.string()), column)


def _typed(batch: Any, schema: Any, blank: set[str]) -> Any:
    """Cast a batch to a schema; in `blank` columns, which have no values at all, quoted empty fields become NULL, too."""
    import pyarrow as pa

    columns = []
    for field in schema:
        column = batch.column(field.name)
        if field.name in blank:
            column = _without_null_words(column, ("",))
        elif not pa.types.is_string(field.type):
            column = _without_null_words(column).cast(field.type)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _names(path: Path) -> list[str]:
    names = _named(_first_line(path))
    if len(set(names)) != len(names) or not all(names):
        msg = f"{path}: column names in the first line must be distinct and not empty, got: {', '.join(names)}"
        raise InputError(msg)
    return names


def _first_line(path: Path) -> list[str]:
    with reading(path, "CSV"), _open(path, None) as reader:
        return [str(name) for name in reader.schema.names]


def _named(names: list[str]) -> list[str]:
    """Name the nameless leading columns, which are the index of a data frame."""
    nameless = next((number for number, name in enumerate(names) if name), 0)
    single = nameless == 1 and "index" not in names
    index_names = ["index"] if single else [f"level_{number}" for number in range(nameless)]
    return index_names + names[nameless:]


def _text_batches(path: Path, names: list[str]) -> Iterator[Any]:
    with reading(path, "CSV"), _open(path, names, renamed=names != _first_line(path)) as reader:
        yield from reader


def _open(path: Path, text: list[str] | None, *, renamed: bool = False) -> Any:
    """Open a file with all columns as text; with `text` None, to read the column names only."""
    import pyarrow as pa
    from pyarrow import csv

    header_options = {"column_names": text, "skip_rows_after_names": 1} if renamed else {}
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, **header_options),
        parse_options=csv.ParseOptions(
            delimiter=_delimiter(path), newlines_in_values=True, ignore_empty_lines=text is None or len(text) > 1
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(text or [], pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _delimiter(path: Path) -> str:
    import pyarrow as pa

    if ".tsv" in path.suffixes[-2:]:
        return "\t"
    with pa.input_stream(str(path)) as stream:
        first = _QUOTED.sub(b"", stream.read(_HEADER_BYTES)).partition(b"\n")[0]
    separators = [] if b"," in first else [separator for separator in (b";", b"\t", b"|") if separator in first]
    return max(separators, key=first.count).decode() if separators else ","
