"""`vsearch deploy --platform`: containers that run the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vsearch.cli import output
from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vsearch.deploy.containers import ContainerSpec


def container_spec(url: str, stack: str, platform: str, *, writer: bool, **arguments: Any) -> ContainerSpec:
    """Return what to deploy, from options of `vsearch deploy`.

    Raises
    ------
    InputError
        The platform is unknown, or an option is invalid or missing.
    """
    from vsearch.deploy.containers import PLATFORMS, ContainerSpec

    if platform not in PLATFORMS:
        raise InputError(
            f"--platform must be terraform, {' or '.join(PLATFORMS)}, got {platform}; functions are deployed without it"
        )
    options = {name: value for name, value in arguments.items() if value is not None}
    return ContainerSpec(url, stack, platform, writable=writer, **options)


def write(spec: ContainerSpec, folder: str, keys: Mapping[str, str], *, as_json: bool) -> None:
    """Write the folder of an image, and print the commands that build and start it. Nothing is run."""
    from vsearch.deploy.containers import describe, write_context

    commands = write_context(spec, Path(folder), keys)
    about = describe(spec, commands)
    if as_json:
        output.print_json(about)
        return
    size = output.in_bytes(about["installed_bytes"])
    typer.echo(
        f"wrote {folder}: an image with {size} of packages, besides Python and its base image; to build and start it:",
        err=True,
    )
    for command in commands:
        typer.echo(command)
