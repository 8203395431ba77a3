"""Releases of a stack: a version of every function, published under one digest, and the alias that selects the live one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vsearch.deploy.deployer import Release
from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import LIVE, Names

_DESCRIPTION = re.compile(r"vsearch release ([0-9a-f]+) of ([0-9]+) shards")


def describe_version(release: str, shards: int) -> str:
    """The description of a release's versions."""
    return f"vsearch release {release} of {shards} shards"


@dataclass(frozen=True)
class OptionalFunctions:
    """Functions that not every stack has.

    Attributes
    ----------
    web, writer, keeper : bool
    """

    web: bool = False
    writer: bool = False
    keeper: bool = False

    @classmethod
    def of_outputs(cls, outputs: Mapping[str, str]) -> OptionalFunctions:
        """Return the optional functions of a deployed stack."""
        return cls("Url" in outputs, "Writer" in outputs, "Keeper" in outputs)


def function_names(stack: str, shards: int, optional: OptionalFunctions) -> list[str]:
    """Functions of a stack, callees before their callers."""
    names = Names(stack)
    called = [*(names.processor(shard) for shard in range(shards)), names.allocator, names.coordinator]
    if optional.writer:
        called.append(names.writer)
    if optional.keeper:
        called.append(names.keeper)
    return [*called, f"{stack}-http"] if optional.web else called


def releases(stack: str, session: Any) -> list[Release]:
    """Deployed releases that still exist, newest first."""
    client, function = session.client("lambda"), Names(stack).coordinator
    live = _alias(function, client)
    by_name: dict[str, Release] = {}
    for version, release, shards in _versions(function, client):
        known = by_name.get(release)
        if known is None or version == live:
            by_name[release] = Release(release, shards, version, version == live)
    return sorted(by_name.values(), key=lambda release: -release.version)


def activate(functions: Sequence[str], release: str, session: Any) -> int:
    """Make a release live; return the number of aliases moved. None is moved if a function lacks the release.

    Raises
    ------
    InputError
        A function lacks the release.
    """
    client, moves = session.client("lambda"), []
    for function in functions:
        candidates = [version for version, name, _ in _versions(function, client) if name == release]
        if not candidates:
            raise InputError(f"{function} has no version of release {release}; deploy it again")
        if _alias(function, client) not in candidates:
            moves.append((function, candidates[0]))
    for function, version in moves:
        client.update_alias(FunctionName=function, Name=LIVE, FunctionVersion=str(version))
    return len(moves)


def roll_back(stack: str, session: Any, optional: OptionalFunctions, release: str | None = None) -> Release:
    """Make an earlier release live; only aliases change, not functions.

    Parameters
    ----------
    optional : OptionalFunctions
        The optional functions of the deployed stack.
    release : str, optional
        Name of the release or a unique prefix; by default the one before the live release.

    Raises
    ------
    InputError
        There is no such release, or functions of it no longer exist.
    """
    existing = releases(stack, session)
    if release is None:
        live = next((i for i, candidate in enumerate(existing) if candidate.live), len(existing))
        older = existing[live + 1 :]
    else:
        older = [candidate for candidate in existing if candidate.release.startswith(release)]
    if not older or (release is not None and len(older) > 1):
        known = ", ".join(candidate.release for candidate in existing) or "none"
        raise InputError(f"there is no release to roll back to for {stack!r}; available releases: {known}")
    activate(function_names(stack, older[0].shards, optional), older[0].release, session)
    return older[0]


def prune(functions: Sequence[str], keep: int, session: Any) -> int:
    """Delete all versions except those of the newest releases and the live one; return how many were deleted."""
    client, deleted = session.client("lambda"), 0
    for function in functions:
        live, versions = _alias(function, client), _versions(function, client)
        newest = list(dict.fromkeys(release for _, release, _ in versions))[: max(1, keep)]
        for version, release, _ in versions:
            if release not in newest and version != live:
                client.delete_function(FunctionName=function, Qualifier=str(version))
                deleted += 1
    return deleted


def _versions(function: str, client: Any) -> list[tuple[int, str, int]]:
    """Version, release and shards of the published versions of a function, newest first."""
    published = []
    try:
        for page in client.get_paginator("list_versions_by_function").paginate(FunctionName=function):
            for entry in page["Versions"]:
                matched = _DESCRIPTION.fullmatch(entry.get("Description", ""))
                if matched and entry["Version"] != "$LATEST":
                    published.append((int(entry["Version"]), matched[1], int(matched[2])))
    except client.exceptions.ResourceNotFoundException:
        return []
    return sorted(published, reverse=True)


def _alias(function: str, client: Any) -> int | None:
    try:
        return int(client.get_alias(FunctionName=function, Name=LIVE)["FunctionVersion"])
    except (client.exceptions.ResourceNotFoundException, ValueError):
        return None
