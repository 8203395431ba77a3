"""Output of results: as one JSON document, or as tables for humans."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from vsearch.api.hits import DocumentMatches, Hits

    Report: TypeAlias = Callable[[str, int, int], None]

PIPE_WIDTH = 160  # columns if stdout is not a terminal


def console() -> Console:
    """The console for stdout; wide if it is not a terminal."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPE_WIDTH if piped else None, highlight=False)


def plain(value: Any) -> Any:
    """Convert a value to JSON types: dataclasses and structs to objects, arrays to lists, NaN to null."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def print_json(value: Any) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2))  # noqa: T201


def print_result(value: Any, title: str | None = None, *, as_json: bool) -> None:
    """Print a result as JSON, or else as a table: a list of records as rows, anything else as facts."""
    if as_json:
        print_json(value)
    elif isinstance(value, list):
        print_rows(value, title)
    else:
        print_facts(value, title)


def print_facts(value: Any, title: str | None = None) -> None:
    """Print names and values in two columns, with nested objects indented and readable units."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, item in _flat(plain(value)):
        table.add_row(name, Text(readable(name, item)))
    console().print(table)


def print_rows(rows: list[dict[str, Any]], title: str | None = None) -> None:
    """Print records as a table, one column per field."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ():
        numeric = all(isinstance(row[name], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(readable(name, item)) for name, item in plain(row).items()))
    console().print(table)


def print_hits(hits: Hits, *, as_json: bool) -> None:
    """Print the hits query by query, and the statistics of the search."""
    answers: list[list[dict[str, Any]]] = [[] for _ in hits.ids]
    matches = getattr(hits, "matches", None)
    for row in hits.to_arrow().to_pylist():
        query = row.pop("query")
        if matches is not None:
            row["matches"] = _matches(matches[query], row["rank"] - hits.offset - 1, as_json=as_json)
        answers[query].append(row)
    if as_json:
        print_json({"queries": [{"query": n, "hits": rows} for n, rows in enumerate(answers)], "stats": hits.stats})
        return
    for number, rows in enumerate(answers):
        heading = f"query {number}" if len(answers) > 1 else None
        if rows:
            print_rows(rows, heading)
        else:
            console().print(f"{heading or 'query'}: no row matches")
    print_facts(hits.stats)


def _matches(matches: DocumentMatches, rank: int, *, as_json: bool) -> Any:
    """The document vector that each query vector matched: as objects, or for humans ``query vector: vector (score)``."""
    matched = zip(matches.places.tolist(), matches.positions[rank].tolist(), matches.scores[rank].tolist(), strict=True)
    if as_json:
        return [{"vector": place, "position": position, "score": score} for place, position, score in matched]
    return ", ".join(f"{place}: {position} ({score:.3f})" for place, position, score in matched)


def readable(name: str, value: Any) -> str:
    """Format a value for humans: bytes with units, floats with four digits, lists with commas."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and "bytes" in name and "per" not in name:
        return in_bytes(value)
    if isinstance(value, int):
        return f"{value:,}" if "snapshot" not in name and name not in {"id", "seed"} else str(value)
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(readable(name, item) for item in value)
    return str(value)


def in_bytes(count: float) -> str:
    """Format a number of bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def progress() -> Iterator[Report | None]:
    """Yield a function that shows ``(stage, done, total)`` as bars on stderr; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    stages: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        yield report


def _flat(value: Any, indent: str = "") -> Iterator[tuple[str, Any]]:
    """Names and leaves of nested objects, depth first, with names indented by depth."""
    for name, item in value.items():
        label = indent + name
        if isinstance(item, dict):
            yield label, ""
            yield from _flat(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield label, ""
            yield from ((indent + "  ", ", ".join(f"{k} {readable(k, v)}" for k, v in entry.items())) for entry in item)
        else:
            yield label, item
