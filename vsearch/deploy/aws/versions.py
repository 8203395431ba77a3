"""Releases of a stack: a version of every function, published under one digest, and the alias that names which answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vsearch.deploy.deployer import Release
from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import LIVE, Names

_DESCRIPTION = re.compile(r"vsearch release ([0-9a-f]+) of ([0-9]+) shards")


def describe_version(release: str, shards: int) -> str:
    """What the versions of a release are described by."""
    return f"vsearch release {release} of {shards} shards"


def function_names(stack: str, shards: int, *, web: bool) -> list[str]:
    """Functions of a stack; who is called comes before who calls."""
    names = Names(stack)
    called = [*(names.processor(shard) for shard in range(shards)), names.allocator, names.coordinator]
    return [*called, f"{stack}-http"] if web else called


def releases(stack: str, session: Any) -> list[Release]:
    """What was deployed and is still there, newest first."""
    client, function = session.client("lambda"), Names(stack).coordinator
    live = _alias(function, client)
    found: dict[str, Release] = {}
    for version, release, shards in _versions(function, client):
        known = found.get(release)
        if known is None or version == live:
            found[release] = Release(release, shards, version, version == live)
    return sorted(found.values(), key=lambda each: -each.version)


def activate(functions: Sequence[str], release: str, session: Any) -> int:
    """Let a release answer; returns how many aliases were moved. None is where a function lacks the release.

    Raises
    ------
    InputError
        A function lacks it.
    """
    client, chosen = session.client("lambda"), []
    for function in functions:
        having = [version for version, name, _ in _versions(function, client) if name == release]
        if not having:
            raise InputError(f"{function} has no version of release {release}; deploy it again")
        if _alias(function, client) not in having:
            chosen.append((function, having[0]))
    for function, version in chosen:
        client.update_alias(FunctionName=function, Name=LIVE, FunctionVersion=str(version))
    return len(chosen)


def roll_back(stack: str, session: Any, *, web: bool, release: str | None = None) -> Release:
    """Let a former release answer; no function is changed, only aliases.

    Parameters
    ----------
    web : bool
        Whether the stack answers JSON.
    release : str, optional
        Or the beginning of its name; by default the one before the release that answers now.

    Raises
    ------
    InputError
        There is none such, or functions of it are gone.
    """
    there = releases(stack, session)
    if release is None:
        live = next((i for i, each in enumerate(there) if each.live), len(there))
        older = there[live + 1 :]
    else:
        older = [each for each in there if each.release.startswith(release)]
    if not older or (release is not None and len(older) > 1):
        known = ", ".join(each.release for each in there) or "none"
        raise InputError(f"there is no release to go back to for {stack!r}; those that are there: {known}")
    activate(function_names(stack, older[0].shards, web=web), older[0].release, session)
    return older[0]


def prune(functions: Sequence[str], keep: int, session: Any) -> int:
    """Delete versions of all but the newest releases and of that which answers; returns how many."""
    client, deleted = session.client("lambda"), 0
    for function in functions:
        live, there = _alias(function, client), _versions(function, client)
        newest = list(dict.fromkeys(release for _, release, _ in there))[: max(1, keep)]
        for version, release, _ in there:
            if release not in newest and version != live:
                client.delete_function(FunctionName=function, Qualifier=str(version))
                deleted += 1
    return deleted


def _versions(function: str, client: Any) -> list[tuple[int, str, int]]:
    """Version, release and shards of what was published of a function, newest first."""
    found = []
    try:
        for page in client.get_paginator("list_versions_by_function").paginate(FunctionName=function):
            for each in page["Versions"]:
                matched = _DESCRIPTION.fullmatch(each.get("Description", ""))
                if matched and each["Version"] != "$LATEST":
                    found.append((int(each["Version"]), matched[1], int(matched[2])))
    except client.exceptions.ResourceNotFoundException:
        return []
    return sorted(found, reverse=True)


def _alias(function: str, client: Any) -> int | None:
    try:
        return int(client.get_alias(FunctionName=function, Name=LIVE)["FunctionVersion"])
    except (client.exceptions.ResourceNotFoundException, ValueError):
        return None
