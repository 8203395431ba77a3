"""Commands that change an index: append, upsert, update, delete, optimize, tag, restore; and one that lists changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import vsearch
from vsearch.cli import inputs, options, output
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.api.index import Index

SAMPLE = 10
"""Maximum number of ids printed."""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Vectors in any form that build reads: .npy, .fvecs ..., or a .parquet or .arrow table with a vector column, "
        "whose other columns become attributes.",
    ),
]
Attributes = Annotated[str | None, typer.Option(help="Parquet or CSV file, one row per vector.")]
Vectors = Annotated[str | None, typer.Option(help="Vector column, if several could be it.")]
Id = Annotated[str | None, typer.Option("--id", help="Id column.")]
Ids = Annotated[
    str | None, typer.Option(help="A .npy file, a text file with one id per line, or a column of the attributes.")
]
Missing = Annotated[str | None, typer.Option(help="Rows without a usable vector: error or skip.")]
Offsets = Annotated[
    str | None, typer.Option(help="Documents: .npy of their first vectors; without it, a table of lists of vectors.")
]
Saliency = Annotated[str | None, typer.Option(help="Documents: .npy with a number per vector.")]
Token = Annotated[
    str | None,
    typer.Option(help="Idempotency key: a second call with the same token changes nothing, so retries are safe."),
]
IfSnapshot = Annotated[int | None, typer.Option(min=1, help="Fail unless this is the newest snapshot.")]
Chosen = Annotated[
    str | None,
    typer.Option(
        "--ids", help="Rows by id: a .npy file, a text file with one id per line, or ids separated by commas."
    ),
]


def append(
    url: options.Url,
    source: Source,
    attributes: Attributes = None,
    vectors: Vectors = None,
    id: Id = None,
    ids: Ids = None,
    missing: Missing = None,
    offsets: Offsets = None,
    saliency: Saliency = None,
    token: Token = None,
    if_snapshot: IfSnapshot = None,
    cluster: options.Cluster = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Add rows to an index; their ids must be new."""
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    arguments = _rows(attributes, vectors, id, ids, missing, offsets, saliency)
    arguments |= options.not_none(token=token, if_snapshot=if_snapshot)
    if cluster is not None:
        arguments |= {"client": cluster, "storage": options.storage(endpoint, anonymous)}
    with output.progress() as report:
        commit = index.append(source, **arguments, progress=report)
    _print_commit(commit, as_json=as_json)


def upsert(
    url: options.Url,
    source: Source,
    attributes: Attributes = None,
    vectors: Vectors = None,
    id: Id = None,
    ids: Ids = None,
    missing: Missing = None,
    offsets: Offsets = None,
    saliency: Saliency = None,
    token: Token = None,
    if_snapshot: IfSnapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Add rows to an index, replacing rows with the same ids."""
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    arguments = _rows(attributes, vectors, id, ids, missing, offsets, saliency)
    arguments |= options.not_none(token=token, if_snapshot=if_snapshot)
    with output.progress() as report:
        commit = index.upsert(source, **arguments, progress=report)
    _print_commit(commit, as_json=as_json)


def update(
    url: options.Url,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An attribute and its new value; lists as JSON. Repeatable."),
    ] = None,
    nulls: Annotated[
        list[str] | None, typer.Option("--null", metavar="NAME", help="An attribute to set to NULL. Repeatable.")
    ] = None,
    where: options.Where = None,
    ids: Chosen = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many rows match, without changing any.")
    ] = False,
    token: Token = None,
    if_snapshot: IfSnapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Change attributes of rows, by id or by predicate; vectors are kept."""
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    new = _values(index, values or [], nulls or [])
    chosen = _chosen(index, ids, where)
    if dry_run:
        _rehearse(index, chosen, as_json=as_json)
        return
    _print_commit(
        index.update(new, **chosen, **options.not_none(token=token, if_snapshot=if_snapshot)), as_json=as_json
    )


def delete(
    url: options.Url,
    where: options.Where = None,
    ids: Chosen = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many rows match, with some ids, without removing any.")
    ] = False,
    token: Token = None,
    if_snapshot: IfSnapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Remove rows, by id or by predicate. Unknown ids are ignored."""
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    chosen = _chosen(index, ids, where)
    if dry_run:
        _rehearse(index, chosen, as_json=as_json)
        return
    _print_commit(index.delete(**chosen, **options.not_none(token=token, if_snapshot=if_snapshot)), as_json=as_json)


def optimize(
    url: options.Url,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Time limit; steps that need more are postponed.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Merge everything that can be merged.")] = False,
    retune: Annotated[
        bool | None,
        typer.Option("--retune/--no-retune", help="Tune the search settings again; by default only if needed."),
    ] = None,
    cluster: options.Cluster = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Run pending maintenance."""
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    arguments: dict[str, Any] = {}
    if cluster is not None:
        arguments = {"client": cluster, "storage": options.storage(endpoint, anonymous)}
    with output.progress() as report:
        done = index.optimize(budget, "auto" if retune is None else retune, force=force, progress=report, **arguments)
    if as_json:
        output.print_json({"changed": done.changed, **done.to_dict()})
    elif done.changed:
        output.print_facts(done)
    elif done.postponed:
        typer.echo("\n".join(done.postponed))
    else:
        typer.echo(f"snapshot {done.snapshot}: nothing to do")


def tag(
    url: options.Url,
    name: Annotated[str | None, typer.Argument(help="Name of the tag; without it, the tags are listed.")] = None,
    snapshot: Annotated[int | None, typer.Option(min=1, help="Snapshot to tag; the newest by default.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tag.")] = False,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Tag a snapshot, which protects it from pruning; or list the tags."""
    if name is None and (remove or snapshot is not None):
        raise InputError("--remove and --snapshot require the NAME of a tag")
    if remove and snapshot is not None:
        raise InputError(
            "--snapshot cannot be combined with --remove, which removes the tag from the snapshot that has it"
        )
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    if name is not None:
        if remove and name not in index.tags():
            raise InputError(f"no snapshot has the tag {name!r}; vsearch tag {url} lists the tags")
        if remove:
            index.untag(name)
        else:
            index.tag(name, snapshot)
    tags = index.tags()
    if as_json:
        output.print_json({"tags": tags})
    elif tags:
        output.print_rows([{"tag": tag_name, "snapshot": number} for tag_name, number in sorted(tags.items())])
    else:
        typer.echo("no snapshot has a tag")


def changes(
    url: options.Url,
    since: Annotated[int, typer.Option(min=1, metavar="SNAPSHOT", help="The snapshot to compare with the newest one.")],
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Print the rows added, replaced and deleted since a snapshot; with --json all their ids."""
    changed = vsearch.open(url, **options.storage(endpoint, anonymous)).changes(since)
    if as_json:
        output.print_json(changed)
        return
    typer.echo(f"snapshot {changed.from_snapshot} to {changed.to_snapshot}")
    for name, ids in (("added", changed.added), ("replaced", changed.replaced), ("deleted", changed.deleted)):
        sample = ", ".join(map(str, ids[:SAMPLE].tolist())) + (", ..." if len(ids) > SAMPLE else "")
        typer.echo(f"{name} {len(ids):,}" + (f": {sample}" if len(ids) else ""))


def restore(
    url: options.Url,
    snapshot: Annotated[int | None, typer.Option(min=1, help="Number of the snapshot.")] = None,
    tag: Annotated[str | None, typer.Option(help="Its tag.")] = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Restore an older state of an index as a new snapshot; can be undone."""
    if (snapshot is None) == (tag is None):
        raise InputError(f"exactly one of --snapshot and --tag is required, got {'neither' if tag is None else 'both'}")
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    commit = index.restore(snapshot=snapshot, tag=tag)
    facts = {"snapshot": commit.snapshot, "restored": tag if snapshot is None else snapshot, "rows": len(index)}
    output.print_result(facts, as_json=as_json)


def _rows(
    attributes: str | None,
    vectors: str | None,
    id: str | None,
    ids: str | None,
    missing: str | None,
    offsets: str | None,
    saliency: str | None,
) -> dict[str, Any]:
    """Return the options of new rows as arguments of the library."""
    arguments = options.not_none(vectors=vectors, id=id, missing=missing)
    files = {"attributes": attributes, "offsets": offsets, "saliency": saliency}
    arguments |= {name: str(options.existing(path)) for name, path in files.items() if path is not None}
    if ids is not None:
        arguments["ids"] = inputs.read_ids(ids)
    return arguments


def _chosen(index: Index, ids: str | None, where: str | None) -> dict[str, Any]:
    """Return the selected rows as arguments of the library: ids with the type of the index, or a predicate."""
    if (ids is None) == (where is None):
        raise InputError(f"exactly one of --ids and --where is required, got {'neither' if ids is None else 'both'}")
    if ids is None:
        return {"where": options.condition(where)}
    values = inputs.read_ids(ids)
    if isinstance(values, str):
        values = list(options.names(values))
    return {"ids": inputs.typed_ids(index.info()["id_type"], values) if isinstance(values, list) else values}


def _values(index: Index, values: list[str], nulls: list[str]) -> dict[str, Any]:
    """Parse new values of attributes, in their types."""
    from vsearch.predicates.schema import Schema
    from vsearch.predicates.types.table import attribute_of_kind

    kinds = index.info()["attributes"]  # functions have no schema to pass
    schema = Schema(tuple(attribute_of_kind(name, kind) for name, kind in kinds.items()))
    new: dict[str, Any] = dict.fromkeys(nulls)
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InputError(f"--set must be NAME=VALUE, got {text!r}")
        if name in new:
            raise InputError(f"each attribute must be set once, got {name!r} twice")
        new[name] = inputs.read_value(schema, name, value)
    if not new:
        raise InputError("update requires --set NAME=VALUE or --null NAME")
    return new


def _is_remote(index: object) -> bool:
    return isinstance(index, vsearch.RemoteIndex)


def _rehearse(index: Index, chosen: dict[str, Any], *, as_json: bool) -> None:
    """Print which rows a change would affect."""
    if _is_remote(index):
        raise InputError("--dry-run is not available through functions: pass the index's own URL")
    from vsearch.live.operations import select, stored_ids

    rows = select(index.snapshot, chosen.get("ids"), chosen.get("where"))
    ids = stored_ids(index.snapshot, rows[:SAMPLE])
    sample = ids.tolist() if hasattr(ids, "tolist") else ids.to_pylist()
    facts = {"snapshot": index.snapshot.manifest.snapshot, "rows": len(rows), "sample": sample}
    if as_json:
        output.print_json(facts)
    elif sample:
        typer.echo(f"rows {len(rows):,}, such as {', '.join(map(str, sample))}; nothing was changed")
    else:
        typer.echo("no row matches; nothing was changed")


def _print_commit(commit: vsearch.Commit, *, as_json: bool) -> None:
    output.print_result(commit, as_json=as_json)
