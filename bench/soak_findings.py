"""Findings of fuzzers."""

from __future__ import annotations

import traceback


class Finding(Exception):  # noqa: N818  not every finding is an error
    """A wrong answer, or an error that is not one of ours.

    Attributes
    ----------
    kind : {"wrong", "raw"}
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def raw_error(error: BaseException) -> Finding:
    """An error that should have been a `VsearchError`, with the end of its traceback."""
    if isinstance(error, Finding | KeyboardInterrupt | SystemExit):
        raise error
    return Finding("raw", "".join(traceback.format_exception(error))[-1500:])
