"""What a worker tells of itself: lines of JSON in its log, metrics in them, and spans of a trace.

``VSEARCH_LOG=0`` silences the log. ``VSEARCH_METRICS=1`` writes a line for every invocation, with metrics in CloudWatch's embedded
format. ``VSEARCH_TRACE=1`` records spans through OpenTelemetry (``pip install vsearch[telemetry]``), to whatever provider the
process has; without that package it does nothing. All are off by default but failures: a line costs time and money.
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
    """Write one line of JSON to the function's log."""
    if os.environ.get("VSEARCH_LOG", "1") != "0":
        _write({"event": event, "function": function, "role": role, **facts})


def measure(function: str, role: str, kind: str, usage: Usage, error: str = "") -> None:
    """Write what one invocation took, as metrics by role and by function.

    Parameters
    ----------
    kind : str
        Of message.
    error : str
        Kind of failure; empty where there was none.
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
    """A span of a trace, where traces are recorded.

    Parameters
    ----------
    parent : str
        The `traceparent` of a span elsewhere (another process, another thread); by default the one this runs in.

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
    """The span that this thread is in, as it travels to others; empty where there is none."""
    if not tracing():
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def tracing() -> bool:
    """Whether traces are recorded."""
    return os.environ.get("VSEARCH_TRACE") == "1" and _installed()


@cache
def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("opentelemetry") is not None


def _write(line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201 (stderr is a function's log)
