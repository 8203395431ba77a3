"""Commands that copy rows to and from the files of other libraries: export, import."""

from __future__ import annotations

from typing import Annotated

import typer

import vsearch
from vsearch.cli import options, output
from vsearch.errors import InputError


def export(
    url: options.Url,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write: .parquet or .arrow.")],
    where: options.Where = None,
    columns: options.Columns = None,
    no_vectors: Annotated[bool, typer.Option("--no-vectors", help="Only ids and attributes.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Write rows with their ids, attributes and vectors to a Parquet or Arrow file."""
    from vsearch.api.exporting import check_export

    check_export(file, overwrite=overwrite)
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous))
    chosen = options.names(columns) or None
    condition = options.condition(where)
    with output.progress() as report:
        rows = index.export(file, condition, chosen, vectors=not no_vectors, overwrite=overwrite, progress=report)
    if as_json:
        output.print_json({"file": file, "rows": rows})
    else:
        typer.echo(f"{rows:,} rows in {file}")


def import_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="faiss, lancedb, chroma, qdrant, pgvector or parquet.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file or folder; for Qdrant also a server's URL.")],
    url: Annotated[str, typer.Argument(metavar="INDEX", help="Folder or URL of the index to build.")],
    table: Annotated[str | None, typer.Option(help="Table or collection, if there are several.")] = None,
    vector: Annotated[str | None, typer.Option(help="Column of vectors, if there are several.")] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Column of ids.")] = None,
    metric: Annotated[str | None, typer.Option(help="cosine, ip or l2; by default that of the source.")] = None,
    bits: Annotated[float, typer.Option(help="Bits per dimension of the codes.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing index.")] = False,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
) -> None:
    """Build an index from data stored by another library, with ids and attributes."""
    from vsearch.integrations.imports.importing import READERS, import_index

    if kind not in READERS:
        raise InputError(f"KIND must be one of {', '.join(READERS)}, got {kind}")
    with output.progress() as report:
        index = import_index(
            kind,
            source,
            url,
            table=table,
            vector=vector,
            id=id_column,
            bits=bits,
            overwrite=overwrite,
            progress=report,
            **options.not_none(metric=metric),
            **options.storage(endpoint, False),
        )
    info = index.info()
    if as_json:
        output.print_json(info)
    else:
        typer.echo(
            f"{info['rows']:,} rows of {info['dimensions']} dimensions, {output.in_bytes(info['bytes'])}, in {url}"
        )
