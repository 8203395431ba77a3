"""Search and changes over HTTP behind a Lambda function URL or an HTTP API: a coordinator that speaks JSON."""

from __future__ import annotations

import time
from typing import Any

STARTED = time.perf_counter()

from vsearch.fanout.platforms.hosting import Host, web_event  # noqa: E402 (its import is part of a cold start, which is billed)

host = Host("coordinator", STARTED)


def handler(event: object, context: object) -> dict[str, Any]:
    """Answer an HTTP event (payload format 2.0)."""
    return web_event(host, event, context)
