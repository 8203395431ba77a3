"""Options for how functions execute a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from vsearch.checks import check_freshness, check_search
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline

MODES = ("auto", "alone", "flat", "tree")


class Execution(TypedDict, total=False):
    """Keywords of searches by functions; see `RemoteIndex.search`."""

    allow_partial: bool
    mode: str
    allocators: int | None
    branching: int | None
    at_least: int
    freshness: float


@dataclass(frozen=True)
class ExecutionOptions:
    """How the caller wants a search to be executed; see `RemoteIndex.search`."""

    deadline: Deadline
    mode: str
    allocators: int | None
    branching: int | None
    allow_partial: bool
    at_least: int
    freshness: float

    @classmethod
    def of(
        cls,
        timeout: float | None,
        *,
        allow_partial: bool = False,
        mode: str = "auto",
        allocators: int | None = None,
        branching: int | None = None,
        at_least: int = 0,
        freshness: float = 0.0,
    ) -> ExecutionOptions:
        """Check and convert the options, as in `Execution`.

        Raises
        ------
        InputError
            An option is invalid.
        """
        check_search(k=1, timeout=timeout)
        if mode not in MODES:
            raise InputError(f"mode must be auto, alone, flat or tree, got {mode!r}")
        check_freshness(at_least, freshness)
        deadline = Deadline.after(timeout)
        return cls(deadline, mode, allocators, branching, allow_partial, int(at_least), float(freshness))
