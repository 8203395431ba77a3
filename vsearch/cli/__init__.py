"""The command line: ``vsearch build | search | info | verify | recall | tune | explain | get | snapshots | prune``.

Commands parse arguments, call the library and print results; they contain no other logic.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the script ``vsearch``."""
    from vsearch.cli.app import app

    app()
