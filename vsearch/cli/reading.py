"""Commands that read rows without a search: count, rows, facet."""

from __future__ import annotations

from typing import Annotated

import typer

import vsearch
from vsearch.cli import inputs, options, output


def count(
    url: options.Url,
    where: options.Where = None,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Count the rows that satisfy a predicate."""
    rows = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous)).count(options.condition(where))
    if as_json:
        output.print_json({"rows": rows})
    else:
        typer.echo(str(rows))


def rows(
    url: options.Url,
    where: options.Where = None,
    columns: options.Columns = None,
    order: Annotated[
        str | None,
        typer.Option(help="Columns to sort by, separated by commas: 'price DESC, name'. By default, the ids."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows to print.")] = 20,
    after: Annotated[str | None, typer.Option(help="Id of the last row of the page before.")] = None,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Print the rows that satisfy a predicate, page by page."""
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous))
    last = None if after is None else inputs.typed_ids(index.info()["id_type"], [after])[0]
    table = index.rows(
        options.condition(where),
        options.names(columns) or None,
        order=options.names(order) or None,
        limit=limit,
        after=last,
    ).to_pylist()
    if as_json:
        output.print_json(table)
    elif table:
        output.print_rows(table)
    else:
        typer.echo("no row matches")


def facet(
    url: options.Url,
    column: Annotated[str, typer.Argument(help="An attribute.")],
    where: options.Where = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of values to print.")] = 20,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Print how many of the rows that satisfy a predicate have each value of an attribute."""
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous))
    counted = index.facet(column, options.condition(where), limit=limit).to_pylist()
    if as_json:
        output.print_json(counted)
    elif counted:
        output.print_rows(counted)
    else:
        typer.echo("no row matches")
