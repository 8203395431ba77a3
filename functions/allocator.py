"""The allocator's handler on AWS Lambda."""

from __future__ import annotations

import time

STARTED = time.perf_counter()

from vsearch.fanout.platforms.hosting import Host  # noqa: E402 (its import is part of a cold start, which is billed)

host = Host("allocator", STARTED)


def handler(event: object, context: object) -> dict[str, str]:
    """Answer an event that contains a message."""
    return host.answer_event(event, context)
