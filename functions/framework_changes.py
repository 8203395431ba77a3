"""The writer and the keeper as plain HTTP functions; see `functions.framework`.

``functions-framework --source functions/framework_changes.py --target writer``
"""

from __future__ import annotations

import time
from typing import Any

STARTED = time.perf_counter()

from vsearch.fanout.platforms.hosting import Host  # noqa: E402 (its import is part of a cold start, which is billed)
from vsearch.fanout.roles.keeper import keep  # noqa: E402
from vsearch.fanout.roles.writer import Writer  # noqa: E402

_writer, _keeper = Host("writer", STARTED, Writer().answer), Host("keeper", STARTED, keep)


def writer(request: Any) -> tuple[bytes, int, dict[str, str]]:
    """Answer a POST request with a message, as the writer."""
    return _writer.answer_http(request)


def keeper(request: Any) -> tuple[bytes, int, dict[str, str]]:
    """Answer a POST request with a message, as the keeper."""
    return _keeper.answer_http(request)
