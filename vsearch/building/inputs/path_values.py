"""Values in the names of folders, as Spark and Hive write them: the files of ``day=2026-01-01/country=fr/`` have two more columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

_NAMED = re.compile(r"([^=]+)=(.*)")
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def path_values(path: PurePath) -> dict[str, str | None]:
    """Return the values that the folders of a file have in their names, by column."""
    matches = [_NAMED.fullmatch(part) for part in path.parts[:-1]]
    values = {unquote(match[1]): unquote(match[2]) for match in matches if match}
    return {name: None if value == _NULL else value for name, value in values.items()}


def with_path_values(schema: pa.Schema, files: Iterable[Mapping[str, str | None]]) -> pa.Schema:
    """Add the columns that folders name, int64 if all of their values are integers, otherwise strings.

    Columns that the files have themselves stay as they are.
    """
    import pyarrow as pa

    of_columns: dict[str, set[str]] = {}
    for values in files:
        for name, value in values.items():
            of_columns.setdefault(name, set()).update([] if value is None else [value])
    for name, texts in of_columns.items():
        if name not in schema.names:
            integers = bool(texts) and all(_INTEGER.fullmatch(text) for text in texts)
            schema = schema.append(pa.field(name, pa.int64() if integers else pa.string()))
    return schema


def repeated_value(value: str | None, kind: pa.DataType, rows: int) -> pa.Array:
    """Return a column with the value of a folder in every row."""
    import pyarrow as pa

    typed = None if value is None else int(value) if pa.types.is_integer(kind) else value
    return pa.repeat(pa.scalar(typed, kind), rows)
