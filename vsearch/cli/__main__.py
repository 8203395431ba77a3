"""``python -m vsearch.cli`` runs the script ``vsearch``."""

from __future__ import annotations

from vsearch.cli import main

main()
