"""Where the local FaaS of this user is: its address in a small file, which `vsearch faas up` writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import gettempdir


def state_file() -> Path:
    """The file: ``VSEARCH_FAAS_STATE``, or one place for each user."""
    named = os.environ.get("VSEARCH_FAAS_STATE")
    return Path(named) if named else Path(gettempdir()) / f"vsearch-faas-{os.getuid()}" / "state.json"


def local_endpoint() -> str | None:
    """The address of the local FaaS, None where none was started."""
    try:
        return str(json.loads(state_file().read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
