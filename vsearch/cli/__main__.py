"""``python -m vsearch.cli`` is the script ``vsearch``."""

from __future__ import annotations

from vsearch.cli import main

main()
