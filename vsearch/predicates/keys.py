"""Literals as cuts between keys, and values as keys, by the record of their type (`vsearch.predicates.types.table`)."""

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
    """As `cuts`, of a column that has bytes for keys."""
    keys = find_type(attribute.type).keys
    found = keys.cuts(attribute, value) if isinstance(keys, ByteKeys) else None
    if found is None:
        raise mismatch(attribute, value)
    return found


def element_key(attribute: Attribute, value: Literal) -> bytes:
    """The key of the list elements that equal a value; `NO_ELEMENT` where none can."""
    keys = find_type(attribute.type).keys
    if not isinstance(keys, ElementKeys):
        raise mismatch(attribute, value)
    found = keys.key(attribute, value)
    if found is None:
        what = keys.item.plural if keys.item.text else f"numbers ({attribute.kind})"
        raise PredicateError(f"the column {attribute.label!r} is a list of {what} and cannot hold {describe(value)}")
    return found


def cuts(attribute: Attribute, value: Literal) -> tuple[int, int]:
    """Where a value stands among the keys of a column that has int64 keys.

    Returns
    -------
    not_below, above : int
        The least key of a value that is >= the literal, and > the literal; -2**63 to 2**63.
        They differ only where a column's value can equal the literal.

    Raises
    ------
    PredicateError
        The literal's type does not compare with the column's.
    """
    keys = find_type(attribute.type).keys
    found = keys.cuts(attribute, value) if isinstance(keys, OrderedKeys) else None
    if found is None:
        raise mismatch(attribute, value)
    return found


def keys_from_values(kind: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Keys of the raw values of an Arrow buffer.

    Parameters
    ----------
    kind : str
        The name of a type with int64 keys: any but strings, decimals and lists.
    values : (rows,)
        Numbers as the buffer has them: int64, uint64, floats of any size, bool or uint8, microseconds or nanoseconds as
        int64, days as int32 or int64.
    """
    return _ordered(kind).from_values(values)


def keys_from_arrow(
    kind: str, array: pa.Array | pa.ChunkedArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Keys of an Arrow column of a type with int64 keys.

    Returns
    -------
    keys : int64 (rows,)
        0 where NULL.
    valid : bool (rows,)
    """
    return ordered_keys(_ordered(kind), array)


def mismatch(attribute: Attribute, value: Literal) -> PredicateError:
    """The error for a literal whose type does not compare with the column's."""
    hint = find_type(attribute.type).hint
    if value is True and not hint:
        hint = "; a column alone is a predicate only where it is bool"
    return PredicateError(
        f"the column {attribute.label!r} is {attribute.kind} and does not compare with {describe(value)}{hint}"
    )


def _ordered(kind: str) -> OrderedKeys:
    keys = find_type(kind).keys
    if isinstance(keys, OrderedKeys):
        return keys
    raise ValueError(f"values of the type {kind} have no int64 keys")
