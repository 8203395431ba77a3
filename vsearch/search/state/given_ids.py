"""Convert ids passed by callers to the types of an index: int64 or str.

Strings never pass through NumPy's string types, which drop trailing NUL characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError

LONGEST_SHOWN = 200
UUID_BYTES = 16


def as_ids(ids: Any, *, text: bool, beyond: bool = False) -> NDArray[Any]:
    """Return one or more ids as an array with the id type of the index.

    Parameters
    ----------
    ids : int, str, UUID, or a sequence, array or series of these
        A UUID or its 16 bytes is converted to the canonical string.
    text : bool
        Whether the index has string ids.
    beyond : bool
        Leave out integers beyond int64, which no row has, instead of raising; accept strings that are not Unicode.

    Returns
    -------
    (n,) int64, or object (str)

    Raises
    ------
    InputError
        An id has another type, or is not an int64, or not Unicode; or `ids` is a mapping or a table.
    """
    refuse_tables(ids)
    values = _to_list(ids)
    if text:
        names: list[str] = []
        for value in values:
            name = _text(value)
            if name is None:
                raise InputError(f"ids of this index must be strings, got {value!r:.100}")
            names.append(name)
        if not beyond and not all(map(is_unicode, names)):
            raise InputError(f"no row has the id {show_id(next(name for name in names if not is_unicode(name)))}")
        return id_array(names)
    limits = np.iinfo(np.int64)
    kept = []
    for value in values:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            msg = f"ids of this index must be integers, got {value!r:.100}"
            raise InputError(msg)
        if limits.min <= value <= limits.max:
            kept.append(value)
        elif not beyond:
            msg = f"no row has the id {show_id(value)}"
            raise InputError(msg)
    return np.array(kept, np.int64)


def refuse_tables(ids: Any) -> None:
    """Refuse mappings and tables, which iterate over their keys or the names of their columns.

    Raises
    ------
    InputError
        `ids` is a mapping or a table.
    """
    if isinstance(ids, Mapping) or hasattr(ids, "columns"):
        raise InputError(
            f"ids must be one id or a sequence of ids, got {type(ids).__name__}; a filter goes into `where`, and of a table "
            "pass the column with the ids"
        )


def id_array(values: Any) -> NDArray[Any]:
    """Return ids as a NumPy array, of dtype object for strings and mixed types."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "UTS":
        return values
    listed = values if isinstance(values, (list, tuple)) else _to_list(values)
    array = np.asarray(listed)
    return array if array.dtype.kind in "biufc" else np.asarray(listed, object)


def is_unicode(text: str) -> bool:
    """Whether a string can be stored, which lone surrogates prevent."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def show_id(id_: object) -> str:
    """Return an id for an error message: printable and abbreviated."""
    text = str(id_)
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _to_list(ids: Any) -> list[Any]:
    for method in ("to_pylist", "to_list", "tolist", "as_py"):
        if hasattr(ids, method):
            ids = getattr(ids, method)()
            break
    if isinstance(ids, (str, bytes, UUID)) or not isinstance(ids, Iterable):
        return [ids]
    return list(ids)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes) and len(value) == UUID_BYTES:
        value = UUID(bytes=value)
    return str(value) if isinstance(value, UUID) else None
