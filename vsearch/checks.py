"""Options of a search, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vsearch.errors import InputError

LARGEST_K = 10_000
LATEST = 86_400


def is_number(value: object) -> bool:
    """Whether a value is one real number; booleans are none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_whole(name: str, value: object, largest: int) -> None:
    """Refuse what is no whole number from 1 to `largest`."""
    if type(value) is int and 1 <= value <= largest:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
        msg = f"{name} must be an integer from 1 to {largest}, got {value!r}"
        raise InputError(msg)


def check_offset(offset: object, k: int) -> None:
    """Refuse what cannot be the number of rows before a page of k, which ends by row 10,000."""
    largest = LARGEST_K - k
    if type(offset) is int and 0 <= offset <= largest:
        return
    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)) or not 0 <= offset <= largest:
        msg = (
            f"offset must be an integer from 0 to {largest} (offset + k at most {LARGEST_K}, k is {k}), got {offset!r}"
        )
        raise InputError(msg)


def check_freshness(at_least: object, freshness: object) -> None:
    """Refuse what is no number of a snapshot, or no seconds by which an answer may be late.

    Raises
    ------
    InputError
    """
    if isinstance(at_least, bool) or not isinstance(at_least, (int, np.integer)) or not 0 <= at_least <= 2**62:
        msg = f"at_least must be the number of a snapshot, got {at_least!r}"
        raise InputError(msg)
    if not is_number(freshness) or not 0 <= float(freshness) <= LATEST:  # type: ignore[arg-type]
        msg = f"freshness must be a number of seconds from 0 to {LATEST}, got {freshness!r}"
        raise InputError(msg)


def check_columns(columns: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that are none of the `known` attribute columns; see `stored_names`."""
    stored_names(columns, known)


def stored_names(columns: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names under which columns are stored; as in predicates, case counts only where two differ by nothing else.

    Raises
    ------
    InputError
        A name is none of the `known` attribute columns.
    """
    if isinstance(columns, str):
        msg = f"columns must be a sequence of names: give [{columns!r}]"
        raise InputError(msg)
    found = []
    for name in columns:
        alike = [name] if name in known else [one for one in known if str(name).lower() == one.lower()]
        if len(alike) != 1:
            listed = ", ".join(known) or "none"
            msg = f"no attribute column is called {name!r}; the index has {listed}"
            raise InputError(msg)
        found.append(alike[0])
    return tuple(found)


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
    """Check the options of a search; `known` are the index's attribute columns.

    Raises
    ------
    InputError
        Says which option is not usable, and what to give instead.
    """
    check_whole("k", k, LARGEST_K)
    check_offset(offset, k)
    if nprobe is not None:
        check_whole("nprobe", nprobe, 2**31)
    if min_score is not None and not (is_number(min_score) and np.isfinite(min_score)):
        msg = f"min_score must be a finite number, got {min_score!r}"
        raise InputError(msg)
    if timeout is not None and not (is_number(timeout) and timeout > 0):
        msg = f"timeout must be a number of seconds above 0, got {timeout!r}"
        raise InputError(msg)
    check_columns(columns, known)
