"""The command that searches with many queries from files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import vsearch
from vsearch.building.inputs.prefix_files import is_url
from vsearch.cli import options, output


def search_many(
    url: options.Url,
    queries: Annotated[
        str,
        typer.Argument(
            metavar="QUERIES", help="Vectors: a folder or URL prefix of files that build reads, or one file."
        ),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL for the answers, in Parquet files.")],
    k: options.K = 10,
    where: options.Where = None,
    vectors: Annotated[str | None, typer.Option(help="Vector column, if several could be it.")] = None,
    snapshot: options.Snapshot = None,
    cluster: options.Cluster = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Search with queries from files, and write the answers to Parquet files; for joins and duplicates."""
    arguments: dict[str, Any] = options.not_none(vectors=vectors, snapshot=snapshot, client=cluster)
    storage = options.storage(endpoint, anonymous)
    if storage and not is_url(url):  # the options apply to all URLs
        arguments |= {
            f"{name}_storage": storage for name, place in (("source", queries), ("out", out)) if is_url(place)
        }
        storage = {}
    with output.progress() as report:
        query_count = vsearch.search_many(
            url, queries, out, k, options.condition(where), progress=report, **arguments, **storage
        )
    facts = {"queries": query_count, "answers": out}
    output.print_result(facts, as_json=as_json)
