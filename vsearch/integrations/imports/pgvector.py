"""Dumps of PostgreSQL tables with pgvector columns: ``pg_dump``, or ``COPY table TO`` in the text format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from vsearch.errors import InputError
from vsearch.integrations.imports.source import (
    BATCH,
    ID,
    Source,
    attribute_array,
    free_name,
    vector_array,
    vector_field,
)

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_LINE = 16 << 20
"""Maximum number of characters of a row."""

MOST_COLUMNS = 2000
LARGEST_DIMENSIONS = 65_536

_COPY = re.compile(r"COPY (?P<table>\S+) \((?P<columns>.*)\) FROM stdin;\n?")
_TABLE = re.compile(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(?P<table>\S+) \(\n?")
_NAME = r'"(?:[^"]|"")+"|[^\s",]+'
_COLUMN = re.compile(rf"\s+(?P<name>{_NAME}) ")
_NAMES = re.compile(_NAME)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL = "\\N"


@dataclass(frozen=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    types: dict[str, str]


def read_pgvector(path: str, table: str | None = None, vector: str | None = None, id: str | None = None) -> Source:
    """Open a plain dump of ``pg_dump`` with one table, or with `table` among others.

    The types of columns are those of the dump's CREATE TABLE; without it, all but the vector are text. Arrays and types that are not
    known are text as well.

    Parameters
    ----------
    vector : str, optional
        The column of vectors, of type ``vector`` or ``halfvec``; the only one by default.
    id : str, optional
        The column of ids; ``id`` by default, if there is one.

    Raises
    ------
    InputError
        The file is not such a dump, a row is damaged, or the table or column does not exist.
    """
    import pyarrow as pa

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    table_found = _find_table(path, table)
    vector = _vector_column(path, table_found, vector)
    if id is not None and id not in table_found.columns:
        raise InputError(f"{table_found.name} has no column {id!r:.100}; it has {', '.join(table_found.columns)[:300]}")
    id = ID if id is None and ID in table_found.columns else id
    width = _width(path, table_found, vector)
    others = [name for name in table_found.columns if name not in {vector, id}]
    readers = {name: _reader(table_found.types.get(name, "")) for name in others}
    kinds = {name: kind for name, (kind, _) in readers.items()}
    ids = _reader(table_found.types.get(id, "")) if id is not None else (pa.int64(), int)
    if not (pa.types.is_integer(ids[0]) or pa.types.is_string(ids[0])):
        ids = pa.string(), str
    schema = pa.schema(
        [pa.field(ID, ids[0]), vector_field(width), *(pa.field(free_name(name), kinds[name]) for name in others)]
    )
    places = {name: place for place, name in enumerate(table_found.columns)}

    def batch(rows: list[list[str | None]], done: int) -> pa.RecordBatch:
        vectors = np.array([_numbers(path, row[places[vector]], width) for row in rows], np.float32)
        row_ids = [done + place for place in range(len(rows))] if id is None else _read(path, rows, places[id], ids[1])
        columns = [
            attribute_array(name, _read(path, rows, places[name], readers[name][1]), kinds[name]) for name in others
        ]
        return pa.RecordBatch.from_arrays(
            [attribute_array(id or ID, row_ids, ids[0]), vector_array(vectors, width), *columns], schema=schema
        )

    def batches() -> Iterator[pa.RecordBatch]:
        waiting: list[list[str | None]] = []
        done = 0
        for row in _rows(path, table_found):
            if row[places[vector]] is None:
                continue
            waiting.append(row)
            if len(waiting) == BATCH:
                yield batch(waiting, done)
                done += len(waiting)
                waiting = []
        if waiting:
            yield batch(waiting, done)

    return Source(schema, batches())


def _find_table(path: str, requested: str | None) -> _Table:
    types: dict[str, dict[str, str]] = {}
    tables: dict[str, _Table] = {}
    with _open(path) as file:
        for line in _lines(path, file):
            if created := _TABLE.fullmatch(line):
                types[_plain(created["table"])] = dict(_declared(path, file))
            elif copied := _COPY.fullmatch(line):
                name = _plain(copied["table"])
                columns = tuple(map(_unquoted, _NAMES.findall(copied["columns"])))
                if len(columns) > MOST_COLUMNS:
                    raise InputError(
                        f"{path}: the table {name} has {len(columns)} columns; at most {MOST_COLUMNS} are read"
                    )
                tables[name] = _Table(name, columns, types.get(name, {}))
                for row in _lines(path, file):
                    if row == "\\.\n":
                        break
    if requested is None and len(tables) == 1:
        return next(iter(tables.values()))
    matching = [table for name, table in tables.items() if requested in {name, name.rpartition(".")[2]}]
    if len(matching) == 1:
        return matching[0]
    raise InputError(f"{path}: name one table; there are {', '.join(tables)[:300] or 'none with COPY ... FROM stdin'}")


def _declared(path: str, file: TextIO) -> Iterator[tuple[str, str]]:
    """Yield the columns and types of a CREATE TABLE."""
    for line in _lines(path, file):
        if line.startswith(")"):
            return
        if column := _COLUMN.match(line):
            yield _unquoted(column["name"]), line[column.end() :].strip().removesuffix(",").lower()


def _rows(path: str, table: _Table) -> Iterator[list[str | None]]:
    with _open(path) as file:
        for line in _lines(path, file):
            copied = _COPY.fullmatch(line)
            if not copied or _plain(copied["table"]) != table.name:
                continue
            for row in _lines(path, file):
                if row == "\\.\n":
                    return
                cells = row.removesuffix("\n").split("\t")
                if len(cells) != len(table.columns):
                    raise InputError(
                        f"{path}: a row of {table.name} has {len(cells)} columns, not {len(table.columns)}"
                    )
                yield [None if cell == _NULL else _ESCAPE.sub(_unescaped, cell) for cell in cells]
            raise InputError(f"{path}: the rows of {table.name} have no end (\\.)")


def _vector_column(path: str, table: _Table, requested: str | None) -> str:
    if requested is not None:
        if requested not in table.columns:
            raise InputError(f"{table.name} has no column {requested!r:.100}; it has {', '.join(table.columns)[:300]}")
        return requested
    typed = [name for name in table.columns if _word(table.types.get(name, "")) in {"vector", "halfvec"}]
    if not typed:
        first = next(_rows(path, table), None)
        cells = [] if first is None else zip(table.columns, first, strict=True)
        typed = [name for name, cell in cells if cell and cell.startswith("[") and cell.endswith("]")]
    if len(typed) != 1:
        raise InputError(f"name the column of vectors with --vector; {table.name} has {', '.join(typed) or 'none'}")
    return typed[0]


def _width(path: str, table: _Table, vector: str) -> int:
    place = table.columns.index(vector)
    first = next((row[place] for row in _rows(path, table) if row[place] is not None), None)
    if first is None:
        raise InputError(f"{table.name} has no vectors")
    width = first.count(",") + 1
    if width > LARGEST_DIMENSIONS:
        raise InputError(f"a vector of {table.name} has {width} dimensions; at most {LARGEST_DIMENSIONS} are read")
    return width


def _numbers(path: str, text: str | None, width: int) -> list[float]:
    try:
        numbers = [float(part) for part in (text or "").removeprefix("[").removesuffix("]").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != width:
        raise InputError(f"{path}: {(text or '')[:60]!r} is not a vector of {width} dimensions")
    return numbers


def _word(kind: str) -> str:
    """Return the name of a type, without its schema and its length."""
    return re.split(r"[\s(]", kind, maxsplit=1)[0].rpartition(".")[2]


def _reader(kind: str) -> tuple[pa.DataType, Callable[[str], Any]]:
    """Return the Arrow type of a column of PostgreSQL, and what reads its text."""
    import pyarrow as pa

    word = kind.split("(", maxsplit=1)[0].removesuffix(" not null").strip()
    if kind.split(" default", maxsplit=1)[0].strip().endswith("]"):
        return pa.string(), str
    for names, arrow, read in (
        (("smallint", "integer", "bigint", "serial", "bigserial"), pa.int64(), int),
        (("real", "double precision", "numeric"), pa.float64(), float),
        (("boolean",), pa.bool_(), {"t": True, "f": False}.__getitem__),
    ):
        if any(word == name or word.startswith(f"{name} ") for name in names):
            return arrow, read
    return pa.string(), str


def _read(path: str, rows: list[list[str | None]], place: int, read: Callable[[str], Any]) -> list[Any]:
    try:
        return [None if (cell := row[place]) is None else read(cell) for row in rows]
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: a value does not have the type of its column: {str(error)[:100]}") from None


def _lines(path: str, file: TextIO) -> Iterator[str]:
    """Yield lines, none of which is longer than a row may be."""
    try:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise InputError(f"{path}: a line has more than {LONGEST_LINE} characters")
            yield line
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a plain dump in UTF-8; write one with pg_dump --format=plain") from None


def _open(path: str) -> TextIO:
    return Path(path).open(encoding="utf-8", newline="\n")


def _plain(table: str) -> str:
    return table.replace('"', "")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return chr(int(code[1:], 16)) if code[0] == "x" and len(code) > 1 else _ESCAPES.get(code, code)
