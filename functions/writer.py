"""The writer's handler on AWS Lambda."""

from __future__ import annotations

import time

STARTED = time.perf_counter()

from vsearch.fanout.platforms.hosting import Host  # noqa: E402 (its import is part of a cold start, which is billed)
from vsearch.fanout.roles.writer import Writer  # noqa: E402

host = Host("writer", STARTED, Writer().answer)


def handler(event: object, context: object) -> dict[str, str]:
    """Answer an event that contains a message."""
    return host.answer_event(event, context)
