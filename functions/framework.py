"""The roles as plain HTTP functions: Cloud Run functions, Knative, or functions-framework on this machine.

``functions-framework --source functions/framework.py --target processor``
"""

from __future__ import annotations

import time
from typing import Any

STARTED = time.perf_counter()

from vsearch.fanout.platforms.hosting import Host  # noqa: E402 (its import is part of a cold start, which is billed)

_hosts = {role: Host(role, STARTED) for role in ("coordinator", "allocator", "processor")}


def coordinator(request: Any) -> tuple[bytes, int, dict[str, str]]:
    """Answer a POST request with a message, as the coordinator."""
    return _hosts["coordinator"].answer_http(request)


def allocator(request: Any) -> tuple[bytes, int, dict[str, str]]:
    """Answer a POST request with a message, as an allocator."""
    return _hosts["allocator"].answer_http(request)


def processor(request: Any) -> tuple[bytes, int, dict[str, str]]:
    """Answer a POST request with a message, as a processor."""
    return _hosts["processor"].answer_http(request)
