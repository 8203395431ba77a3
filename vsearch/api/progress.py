"""A progress bar for long calls, in notebooks and terminals."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any, TextIO

PAUSE = 0.1
"""Seconds between two updates."""

WIDTH = 30


class ProgressBar:
    """Shows the progress of a build or another long call: ``vsearch.build(..., progress=vsearch.ProgressBar())``.

    In a notebook it is drawn below the cell, one line for each stage, and needs no widgets. Elsewhere it is a line of text.

    Parameters
    ----------
    file : text file, optional
        Where the text is written; by default stderr.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._stages: dict[str, tuple[int, int]] = {}
        self._display: Any = None
        self._notebook = file is None and in_notebook()
        self._shown = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` parts of a stage are done."""
        begun = stage not in self._stages
        self._stages[stage] = done, total
        now = time.monotonic()
        if not begun and done < total and now - self._shown < PAUSE:
            return
        self._shown = now
        if self._notebook:
            self._draw()
            return
        file = sys.stderr if self._file is None else self._file
        file.write(f"\r{self._line(stage, done, total)}" + ("\n" if done >= total else ""))
        file.flush()

    def _repr_html_(self) -> str:
        """The bars of all stages, for notebooks."""
        rows = "".join(
            f"<tr><td>{escape(stage)}</td><td><progress value='{done}' max='{max(total, 1)}'></progress></td><td>{done:,} of {total:,}</td></tr>"
            for stage, (done, total) in self._stages.items()
        )
        return f"<table>{rows}</table>"

    def _draw(self) -> None:
        from IPython.display import HTML, display

        shown = HTML(self._repr_html_())
        if self._display is None:
            self._display = display(shown, display_id=True)
        else:
            self._display.update(shown)

    @staticmethod
    def _line(stage: str, done: int, total: int) -> str:
        filled = WIDTH * min(done, total) // max(total, 1)
        return f"{stage:<12} [{'#' * filled}{' ' * (WIDTH - filled)}] {done:,} of {total:,}"


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; does not import IPython."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
