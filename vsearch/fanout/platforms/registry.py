"""The table of platforms. A new platform only needs to be added here."""

from __future__ import annotations

from vsearch.fanout.platforms.aws_lambda import LAMBDA, LOCAL_FAAS
from vsearch.fanout.platforms.plain_http import HTTP
from vsearch.fanout.platforms.platform import Platform

IN_PROCESS = Platform("in-process")
"""Functions in this process, for tests and forecasts: the owner of the workers creates a `LocalInvoker`; nothing is billed."""

PLATFORMS: tuple[Platform, ...] = (LAMBDA, LOCAL_FAAS, HTTP, IN_PROCESS)


def platform_of_url(url: str) -> Platform | None:
    """The platform of a URL; None if the URL does not refer to functions."""
    scheme, separator, _ = url.partition("://")
    return next((platform for platform in PLATFORMS if scheme and separator and platform.scheme == scheme), None)


def platform_of_functions(invoker: str) -> Platform:
    """The platform for a value of ``VSEARCH_INVOKER``: a platform's name, or a URL template of plain HTTP."""
    return next((platform for platform in PLATFORMS if platform.call is not None and platform.name == invoker), HTTP)


def url_forms() -> str:
    """The URL forms of stacks, for error messages."""
    return " or ".join(f"{platform.scheme}://stack" for platform in PLATFORMS if platform.scheme)
