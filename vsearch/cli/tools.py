"""The command that offers an index to language models."""

from __future__ import annotations

from typing import Annotated

import typer

import vsearch
from vsearch.cli import options
from vsearch.errors import MissingDependencyError
from vsearch.fanout.platforms.registry import platform_of_url


def mcp(
    url: options.Url,
    name: Annotated[str, typer.Option(help="Name of the server, for clients.")] = "vsearch",
    snapshot: options.Snapshot = None,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
    cache: options.Cache = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Serve an index to language models as tools (Model Context Protocol), on standard input and output.

    The tools are search, count, schema and get; none changes the index.
    """
    try:
        from vsearch.integrations.mcp import make_server
    except ImportError as error:
        raise MissingDependencyError(
            f"the Model Context Protocol requires the extra mcp: pip install 'vsearch[mcp]' ({error})"
        ) from error
    fixed = snapshot is not None or platform_of_url(url) is not None  # functions look for newer snapshots themselves
    storage = options.storage(endpoint, anonymous, cache, cache_bytes)
    index = vsearch.open(url, snapshot, refresh=None if fixed else 1.0, **storage)
    make_server(index, name).run()
