"""Telemetry of workers: JSON log lines, metrics and traces.

``VSEARCH_LOG=0`` silences the log. ``VSEARCH_METRICS=1`` writes a line for every invocation, with metrics in CloudWatch's embedded
format. ``VSEARCH_TRACE=1`` records spans with OpenTelemetry (``pip install vsearch[telemetry]``) and the provider of the process;
without that package it has no effect. By default only failures are logged, since log lines cost time and money.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsearch.fanout.calls.bill import Usage

NAMESPACE = "vsearch"

UNITS = {
    "Duration": "Milliseconds",
    "ColdStarts": "Count",
    "Failures": "Count",
    "ObjectRequests": "Count",
    "ObjectBytes": "Bytes",
    "GigabyteSeconds": "None",
}


def log(function: str, role: str, event: str, **facts: Any) -> None:
    """Write a line of JSON to the function's log."""
    if os.environ.get("VSEARCH_LOG", "1") != "0":
        _write({"event": event, "function": function, "role": role, **facts})


def measure(function: str, role: str, kind: str, usage: Usage, error: str = "") -> None:
    """Write the resources used by an invocation as metrics, by role and function.

    Parameters
    ----------
    kind : str
        Type of the message.
    error : str
        Error kind; empty if the invocation succeeded.
    """
    if os.environ.get("VSEARCH_METRICS") != "1":
        return
    values = {
        "Duration": 1e3 * usage.seconds,
        "ColdStarts": usage.cold_starts,
        "Failures": usage.failures,
        "ObjectRequests": usage.requests,
        "ObjectBytes": usage.bytes,
        "GigabyteSeconds": usage.gigabyte_seconds,
    }
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["role"], ["function"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in UNITS.items()],
    }
    _write(
        {
            "_aws": {"Timestamp": round(time.time() * 1e3), "CloudWatchMetrics": [directive]},
            "event": "served",
            "function": function,
            "role": role,
            "kind": kind,
            "error": error,
            **values,
        }
    )


@contextmanager
def span(name: str, parent: str = "", **attributes: str | float | bool) -> Iterator[Any]:
    """Record a span, if tracing is enabled.

    Parameters
    ----------
    parent : str
        The `traceparent` of a span in another process or thread; by default, the current span.

    Yields
    ------
    opentelemetry.trace.Span or None
    """
    if not tracing():
        yield None
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with trace.get_tracer(NAMESPACE).start_as_current_span(
        f"{NAMESPACE}.{name}", context=context, attributes={f"{NAMESPACE}.{key}": v for key, v in attributes.items()}
    ) as started:
        yield started


def traceparent() -> str:
    """Return the traceparent of the current span; empty if there is none."""
    if not tracing():
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def tracing() -> bool:
    """Whether tracing is enabled."""
    return os.environ.get("VSEARCH_TRACE") == "1" and _installed()


@cache
def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("opentelemetry") is not None


def _write(line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201 (stderr is a function's log)
