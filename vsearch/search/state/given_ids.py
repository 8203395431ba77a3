"""Ids that are asked for, in the types that indexes hold: int64, or str.

Strings never pass through NumPy's own string types: these drop NUL characters at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError

LONGEST_SHOWN = 200
UUID_BYTES = 16


def as_ids(ids: Any, *, text: bool) -> NDArray[Any]:
    """Ids of any container, or a single one, as an array of what the index has.

    Parameters
    ----------
    ids : int, str, UUID, or a sequence, array or series of such
        A UUID, or its 16 bytes, stands for its canonical string.
    text : bool
        Whether the index has string ids.

    Returns
    -------
    (n,) int64, or object (str)

    Raises
    ------
    InputError
        An id of another type, or an integer that no index can hold.
    """
    given = _listed(ids)
    if text:
        names = [_text(one) for one in given]
        if any(name is None for name in names):
            msg = "this index has string ids; give strings"
            raise InputError(msg)
        return id_array(names)
    if any(isinstance(one, (bool, np.bool_)) or not isinstance(one, (int, np.integer)) for one in given):
        msg = "this index has integer ids; give integers"
        raise InputError(msg)
    limits = np.iinfo(np.int64)
    for one in given:
        if not limits.min <= one <= limits.max:
            msg = f"no row has the id {shown(one)}"
            raise InputError(msg)
    return np.array(given, np.int64)


def id_array(values: Any) -> NDArray[Any]:
    """Ids as NumPy sees them, but strings, and what mixes types, as objects: each stays what it is."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "UTS":
        return values
    listed = values if isinstance(values, (list, tuple)) else _listed(values)
    array = np.asarray(listed)
    return array if array.dtype.kind in "biufc" else np.asarray(listed, object)


def is_unicode(text: str) -> bool:
    """Whether a string can be stored: one with half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(one: object) -> str:
    """An id as a message names it: printable, and not endless."""
    text = str(one)
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _listed(ids: Any) -> list[Any]:
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(ids, method):
            ids = getattr(ids, method)()
            break
    if isinstance(ids, (str, bytes, UUID)) or not isinstance(ids, Iterable):
        return [ids]
    return list(ids)


def _text(one: Any) -> str | None:
    if isinstance(one, str):
        return str(one)
    if isinstance(one, bytes) and len(one) == UUID_BYTES:
        one = UUID(bytes=one)
    return str(one) if isinstance(one, UUID) else None
