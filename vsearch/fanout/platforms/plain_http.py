"""Functions behind plain HTTP: Cloud Run functions, Knative, functions-framework. Their limits and prices are unknown."""

from __future__ import annotations

from collections.abc import Mapping

from vsearch.fanout.calls.invoker import Invoker
from vsearch.fanout.platforms.platform import Platform


def call(template: str, environment: Mapping[str, str]) -> Invoker:
    """Create the invoker that functions use to call each other.

    Raises
    ------
    InputError
        The template has no ``{function}``, or a token would be sent without encryption.
    """
    from vsearch.fanout.platforms.network import HttpInvoker

    return HttpInvoker(template, environment.get("VSEARCH_HTTP_TOKEN"))


HTTP = Platform("http", call=call)
