"""Convert literals to cuts between keys, and values to keys, by the record of their type.

See `vsearch.predicates.types.table`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch.errors import PredicateError
from vsearch.predicates.literals import Literal, describe
from vsearch.predicates.schema import Attribute
from vsearch.predicates.types.arrays import ordered_keys
from vsearch.predicates.types.record import ByteKeys, ElementKeys, OrderedKeys
from vsearch.predicates.types.table import find_type

if TYPE_CHECKING:
    import pyarrow as pa


def byte_cuts(attribute: Attribute, value: Literal) -> tuple[bytes, bytes]:
    """As `cuts`, for a column with byte keys."""
    keys = find_type(attribute.type).keys
    key_cuts = keys.cuts(attribute, value) if isinstance(keys, ByteKeys) else None
    if key_cuts is None:
        raise mismatch(attribute, value)
    return key_cuts


def element_key(attribute: Attribute, value: Literal) -> bytes:
    """Return the key of the list elements that equal a value; `NO_ELEMENT` if none can."""
    keys = find_type(attribute.type).keys
    if not isinstance(keys, ElementKeys):
        raise mismatch(attribute, value)
    key = keys.key(attribute, value)
    if key is None:
        elements = keys.item.plural if keys.item.text else f"numbers ({attribute.kind})"
        raise PredicateError(
            f"the column {attribute.label!r} is a list of {elements} and cannot hold {describe(value)}"
        )
    return key


def cuts(attribute: Attribute, value: Literal) -> tuple[int, int]:
    """Locate a literal among the keys of a column with int64 keys.

    Returns
    -------
    not_below, above : int
        The smallest keys of values that are >= and > the literal; from -2**63 to 2**63. They differ only if a value of
        the column can equal the literal.

    Raises
    ------
    PredicateError
        The literal cannot be compared with the column's type.
    """
    keys = find_type(attribute.type).keys
    key_cuts = keys.cuts(attribute, value) if isinstance(keys, OrderedKeys) else None
    if key_cuts is None:
        raise mismatch(attribute, value)
    return key_cuts


def keys_from_values(kind: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the keys of the raw values of an Arrow buffer.

    Parameters
    ----------
    kind : str
        The name of a type with int64 keys: any type but strings, decimals and lists.
    values : (rows,)
        Numbers as stored in the buffer: int64, uint64, floats of any size, bool or uint8, microseconds or nanoseconds
        as int64, days as int32 or int64.
    """
    return _ordered(kind).from_values(values)


def keys_from_arrow(
    kind: str, array: pa.Array | pa.ChunkedArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the keys of an Arrow column of a type with int64 keys.

    Returns
    -------
    keys : int64 (rows,)
        0 where NULL.
    valid : bool (rows,)
    """
    return ordered_keys(_ordered(kind), array)


def mismatch(attribute: Attribute, value: Literal) -> PredicateError:
    """Return the error for a literal that cannot be compared with the column's type."""
    hint = find_type(attribute.type).hint
    if value is True and not hint:
        hint = "; only a bool column is a predicate by itself"
    return PredicateError(
        f"the column {attribute.label!r} is {attribute.kind} and cannot be compared with {describe(value)}{hint}"
    )


def _ordered(kind: str) -> OrderedKeys:
    keys = find_type(kind).keys
    if isinstance(keys, OrderedKeys):
        return keys
    raise ValueError(f"the type {kind} has no int64 keys")
