"""The keeper's handler on AWS Lambda, called on a schedule."""

from __future__ import annotations

import time
from typing import Any

STARTED = time.perf_counter()

from vsearch.fanout.platforms.hosting import Host, keep_event  # noqa: E402 (its import is part of a cold start, which is billed)
from vsearch.fanout.roles.keeper import keep  # noqa: E402

host = Host("keeper", STARTED, keep)


def handler(event: object, context: object) -> dict[str, Any]:
    """Maintain the index, or answer an event that contains a message."""
    return keep_event(host, event, context)
