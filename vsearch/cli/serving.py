"""The command that serves indexes over HTTP."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from vsearch.cli import options
from vsearch.errors import MissingDependencyError

STOP_SECONDS = 90
"""Seconds for requests in progress to finish after a stop signal."""

MOST_CONNECTIONS = 1000
"""Maximum number of concurrent connections of a process."""


def serve(
    indexes: Annotated[
        list[str], typer.Argument(metavar="INDEX...", help="URLs of indexes; several as NAME=URL, served under /NAME/.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach requires a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes; files of folders are shared.")] = 1,
    writable: Annotated[bool, typer.Option("--writable", help="Accept changes: POST to /rows.")] = False,
    origins: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", metavar="ORIGIN", help="Let web pages of this origin call the server: https://HOST; repeatable."
        ),
    ] = None,
    cache: options.Cache = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Serve indexes over HTTP, as functions do: POST to /search; /openapi.json, /health and /metrics.

    The keys for searches and changes are read from VSEARCH_API_KEY and VSEARCH_WRITE_KEY.
    """
    try:
        from vsearch.serving import app
        from vsearch.serving.listening import listen
    except ImportError as error:
        raise MissingDependencyError(
            f"serving requires the extra serve: pip install 'vsearch[serve]' ({error})"
        ) from error
    import msgspec

    from vsearch.api.build_and_open import open as open_index
    from vsearch.serving.settings import VARIABLE, ServerSettings

    settings = ServerSettings.of(
        indexes,
        host,
        os.environ,
        writable=writable,
        origins=origins or (),
        processes=workers,
        **options.not_none(cache=cache, cache_bytes=cache_bytes),
    )
    for url in settings.indexes.values():
        open_index(url, **settings.storage(url))  # refuses what cannot be served before it listens
    os.environ[VARIABLE] = msgspec.json.encode(settings).decode()
    target = f"{app.__name__}:{app.from_environment.__name__}"
    listen(
        target,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        limit_concurrency=MOST_CONNECTIONS,
    )
