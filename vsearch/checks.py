"""Validation of search options, before anything is read."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np

from vsearch.errors import InputError

LARGEST_K = 10_000
"""Rows of one answer."""

LARGEST_DEPTH = 1_000_000
"""Rows of all pages of a search."""

LATEST = 86_400


def caller_level() -> int:
    """Return the `stacklevel` of a warning that names the first caller outside vsearch, for the function that warns."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "vsearch":
        frame, level = frame.f_back, level + 1
    return level


def is_number(value: object) -> bool:
    """Whether a value is a real number; booleans are not."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_whole(name: str, value: object, largest: int) -> None:
    """Refuse values that are not an integer from 1 to `largest`."""
    if type(value) is int and 1 <= value <= largest:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
        msg = f"{name} must be an integer from 1 to {largest}, got {value!r}"
        raise InputError(msg)


def check_k(k: object) -> None:
    """Refuse values that are not a number of rows that one answer may have."""
    try:
        check_whole("k", k, LARGEST_K)
    except InputError as error:
        if not is_number(k) or k <= LARGEST_K:  # type: ignore[operator]
            raise
        raise InputError(f"{error}; offset and search_pages return further rows, up to {LARGEST_DEPTH}") from None


def check_missing(missing: object) -> None:
    """Refuse values that do not say what to do with missing ids."""
    if missing not in ("error", "skip"):
        msg = f"missing must be 'error' or 'skip', got {missing!r:.100}"
        raise InputError(msg)


def check_offset(offset: object, k: int) -> None:
    """Refuse invalid offsets of a page of k rows; the page must end within the first 1,000,000 rows."""
    largest = LARGEST_DEPTH - k
    if type(offset) is int and 0 <= offset <= largest:
        return
    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)) or not 0 <= offset <= largest:
        msg = f"offset must be an integer from 0 to {largest} (offset + k at most {LARGEST_DEPTH}, k is {k}), got {offset!r}"
        raise InputError(msg)


def check_freshness(at_least: object, freshness: object) -> None:
    """Refuse invalid snapshot numbers, and invalid numbers of seconds by which an answer may be stale.

    Raises
    ------
    InputError
        A number is invalid.
    """
    if isinstance(at_least, bool) or not isinstance(at_least, (int, np.integer)) or not 0 <= at_least <= 2**62:
        msg = f"at_least must be the number of a snapshot, got {at_least!r}"
        raise InputError(msg)
    if not is_number(freshness) or not 0 <= float(freshness) <= LATEST:  # type: ignore[arg-type]
        msg = f"freshness must be a number of seconds from 0 to {LATEST}, got {freshness!r}"
        raise InputError(msg)


def check_columns(columns: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that are not among the `known` attribute columns; see `stored_names`."""
    stored_names(columns, known)


def stored_names(columns: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Resolve column names to stored names. As in predicates, case matters only to distinguish names that differ in case alone.

    Raises
    ------
    InputError
        A name is none of the `known` attribute columns.
    """
    if isinstance(columns, str):
        msg = f"columns must be a sequence of names, got {columns!r}; use [{columns!r}]"
        raise InputError(msg)
    resolved = []
    for name in columns:
        matches = [name] if name in known else [stored for stored in known if str(name).lower() == stored.lower()]
        if len(matches) != 1:
            listed = ", ".join(known) or "none"
            msg = f"the index has no attribute column {name!r}; it has {listed}"
            raise InputError(msg)
        resolved.append(matches[0])
    return tuple(resolved)


def check_search(
    *,
    k: int,
    nprobe: int | None = None,
    min_score: float | None = None,
    timeout: float | None = None,
    offset: int = 0,
    columns: Sequence[str] = (),
    known: Sequence[str] = (),
) -> None:
    """Validate the options of a search; `known` are the index's attribute columns.

    Raises
    ------
    InputError
        An option is invalid.
    """
    check_k(k)
    if offset != 0 or type(offset) is not int:
        check_offset(offset, k)
    if nprobe is not None:
        check_whole("nprobe", nprobe, 2**31)
    if min_score is not None and not (is_number(min_score) and np.isfinite(min_score)):
        msg = f"min_score must be a finite number, got {min_score!r}"
        raise InputError(msg)
    if timeout is not None and not (is_number(timeout) and timeout > 0):
        msg = f"timeout must be a number of seconds above 0, got {timeout!r}"
        raise InputError(msg)
    if not isinstance(columns, tuple) or columns:
        check_columns(columns, known)
