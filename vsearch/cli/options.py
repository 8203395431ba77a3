"""Arguments and options shared by several commands, so that they have the same names everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vsearch.errors import InputError, PredicateError

Url = Annotated[
    str, typer.Argument(metavar="INDEX", help="Folder or URL (s3://bucket/prefix, gs://..., az://...) of the index.")
]
QUERIES = typer.Argument(
    metavar="QUERIES", help="A file of vectors (.npy, .fvecs, .parquet ...) or a vector in JSON: '[0.1, 0.2]'."
)
Queries = Annotated[str, QUERIES]
QueryFile = Annotated[
    str | None, typer.Option("--queries", help="File of query vectors; without one, stored rows are sampled.")
]
Row = Annotated[int | None, typer.Option("--row", min=0, help="Use only this row of the query file.")]
Where = Annotated[
    str | None,
    typer.Option("--where", help="Predicate on attributes, in SQL (\"price < 10 AND tag = 'a'\") or as a JSON object."),
]
K = Annotated[int, typer.Option("--k", "-k", min=1, max=10_000, help="Rows per query; --offset returns further ones.")]
Offset = Annotated[int, typer.Option("--offset", min=0, help="Rows to skip: for the next page, with the same k.")]
Exact = Annotated[bool, typer.Option("--exact", help="Search exhaustively.")]
Nprobe = Annotated[int | None, typer.Option("--nprobe", min=1, help="Partitions to visit; a minimum with --where.")]
Columns = Annotated[str | None, typer.Option("--columns", help="Attribute columns to print, separated by commas.")]
Snapshot = Annotated[int | None, typer.Option("--snapshot", min=0, help="Read this snapshot instead of the latest.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Use a dask cluster: the address of its scheduler, or local:2 for processes of this machine. "
        "The same command resumes what was interrupted.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", help="URL of a service with the API of S3, Google Cloud Storage or Azure."),
]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="Send unsigned requests (public buckets).")]

Cache = Annotated[
    str | None,
    typer.Option("--cache", metavar="FOLDER", help="Folder that keeps what is read of an index in an object store."),
]
CacheBytes = Annotated[
    int | None, typer.Option("--cache-bytes", help="Bytes that the folder of --cache may take; 1 GiB by default.")
]


def storage(
    endpoint: str | None, anonymous: bool, cache: str | None = None, cache_bytes: int | None = None
) -> dict[str, Any]:
    """Keyword arguments of the library for the store options that are set."""
    passed: dict[str, Any] = {}
    if endpoint is not None:
        passed["endpoint"] = endpoint
    if anonymous:
        passed["anonymous"] = True
    return passed | not_none(cache=cache, cache_bytes=cache_bytes)


def not_none(**options: Any) -> dict[str, Any]:
    """The options that are not None; the library has defaults for the others."""
    return {name: value for name, value in options.items() if value is not None}


def condition(where: str | None) -> str | dict[str, Any] | None:
    """Prepare a predicate for the library: JSON objects are decoded, SQL stays text."""
    if where is None or not where.lstrip().startswith("{"):
        return where
    try:
        decoded: dict[str, Any] = json.loads(where)
    except json.JSONDecodeError as error:
        raise PredicateError(f"--where starts with a brace but is not a JSON object: {error}") from error
    return decoded


def text_queries(words: list[str] | None) -> list[Any]:
    """Prepare queries for words: JSON objects are decoded into dicts of clauses, others stay texts."""
    queries: list[Any] = []
    for query in words or ():
        try:
            queries.append(json.loads(query) if query.lstrip().startswith("{") else query)
        except json.JSONDecodeError as error:
            raise InputError(f"--words starts with a brace but is not a JSON object: {error}") from error
    return queries


def names(columns: str | None) -> tuple[str, ...]:
    """Split a comma-separated list of column names."""
    return tuple(name.strip() for name in (columns or "").split(",") if name.strip())


def existing(path: str) -> Path:
    """The path of a file, which must exist."""
    file = Path(path)
    if not file.exists():
        raise InputError(f"{path}: no such file")
    return file
