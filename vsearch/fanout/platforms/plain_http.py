"""Functions behind plain HTTP: Cloud Run functions, Knative, functions-framework. Nothing is known of limits and prices."""

from __future__ import annotations

from collections.abc import Mapping

from vsearch.fanout.calls.invoker import Invoker
from vsearch.fanout.platforms.platform import Platform


def call(template: str, environment: Mapping[str, str]) -> Invoker:
    """The invoker by which functions call each other.

    Raises
    ------
    InputError
        The template names no function, or a token would travel without encryption.
    """
    from vsearch.fanout.platforms.network import HttpInvoker

    return HttpInvoker(template, environment.get("VSEARCH_HTTP_TOKEN"))


HTTP = Platform("http", call=call)
