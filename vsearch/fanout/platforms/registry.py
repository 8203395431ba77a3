"""The platforms that are known, one row each. A new one is added here and nowhere else in this folder."""

from __future__ import annotations

from vsearch.fanout.platforms.aws_lambda import LAMBDA, LOCAL_FAAS
from vsearch.fanout.platforms.plain_http import HTTP
from vsearch.fanout.platforms.platform import Platform

IN_PROCESS = Platform("in-process")
"""Functions of this process, for tests and forecasts: `LocalInvoker` is made by who has the workers, and nothing is billed."""

PLATFORMS: tuple[Platform, ...] = (LAMBDA, LOCAL_FAAS, HTTP, IN_PROCESS)


def platform_of_url(url: str) -> Platform | None:
    """Whose functions a URL names; None where it names none."""
    scheme, separator, _ = url.partition("://")
    return next((each for each in PLATFORMS if scheme and separator and each.scheme == scheme), None)


def platform_of_functions(invoker: str) -> Platform:
    """What functions call each other by, given ``VSEARCH_INVOKER``: the name of a platform, or a URL template of plain HTTP."""
    return next((each for each in PLATFORMS if each.call is not None and each.name == invoker), HTTP)


def url_forms() -> str:
    """How the URLs of stacks are written, for messages."""
    return " or ".join(f"{each.scheme}://stack" for each in PLATFORMS if each.scheme)
