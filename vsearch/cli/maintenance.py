"""Commands that check and clean up stored files: verify, snapshots, prune."""

from __future__ import annotations

import re
from typing import Annotated

import typer

import vsearch
from vsearch.cli import options, output

DAMAGED = 1

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(text: str, option: str = "--grace") -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None:
        raise vsearch.InputError(f"{option} must be seconds, or a time such as 90s, 30m, 12h or 2d, got {text!r}")
    return float(match[1]) * UNITS[match[2]]


def verify(
    url: options.Url,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Read every file and verify its checksums; exits with status 1 if anything is damaged."""
    with output.progress() as report:
        result = vsearch.verify(url, snapshot, progress=report, **options.storage(endpoint, anonymous))
    if as_json:
        output.print_json(result)
    elif not result.ok:
        typer.echo("\n".join(f"damaged: {problem.path}: {problem.reason}" for problem in result.problems))
    else:
        typer.echo(f"{result.files:,} files, {output.in_bytes(result.bytes)}: all intact")
    if not result.ok:
        raise typer.Exit(DAMAGED)


def snapshots(
    url: options.Url,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """List the existing snapshots."""
    infos = [output.plain(info) for info in vsearch.open(url, **options.storage(endpoint, anonymous)).snapshots()]
    output.print_result(infos, as_json=as_json)


def prune(
    url: options.Url,
    keep: Annotated[int, typer.Option(min=1, help="Number of newest snapshots to keep.")] = 2,
    grace: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Minimum age of files that no snapshot names, as 90s, 30m, 12h or 2d; 0 only if nothing else is writing.",
        ),
    ] = "1d",
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Minimum time since a snapshot was superseded; by default 1h for an index that changes, 0 for others.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, without removing it.")
    ] = False,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Remove old snapshots and files that no snapshot names."""
    storage = options.storage(endpoint, anonymous)
    seconds = None if older_than is None else _seconds(older_than, "--older-than")
    report = vsearch.prune(url, keep=keep, grace=_seconds(grace), older_than=seconds, dry_run=dry_run, **storage)
    output.print_result(report, as_json=as_json)
