"""``python -m vsearch.faas STATE OPTIONS``: the process started by `vsearch.faas.daemon.up`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType

from vsearch.faas.daemon import serve


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    serve(Path(sys.argv[1]), json.loads(sys.argv[2]))
