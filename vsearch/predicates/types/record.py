"""The record of an attribute type and its kinds of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch.predicates.literals import Literal
from vsearch.predicates.schema import Attribute

if TYPE_CHECKING:
    import pyarrow as pa

LOWEST = -(2**63)
TOP = 2**63


def clip(key: int) -> int:
    """Clamp a key to LOWEST to TOP."""
    return min(max(key, LOWEST), TOP)


@dataclass(frozen=True)
class OrderedKeys:
    """Maps values to int64 keys in the order of the values.

    Attributes
    ----------
    cuts : callable
        ``cuts(attribute, literal)`` -> the smallest keys of values >= and > the literal, from -2**63 to 2**63; None if
        the literal cannot be compared with the type. They differ only if a value can equal the literal.
    from_values : callable
        Maps the numbers that the exact column stores to keys, int64 (rows,).
    numbers : callable
        Converts an Arrow array of a type that `AttributeRecord.accepts` to the numbers that `from_values` takes.
    integral : bool
        Whether an integer is its own key, so that long lists of integers need no cuts.
    """

    cuts: Callable[[Attribute, Literal], tuple[int, int] | None]
    from_values: Callable[[npt.NDArray[Any]], npt.NDArray[np.int64]]
    numbers: Callable[[Any], pa.Array]
    integral: bool = False


@dataclass(frozen=True)
class ByteKeys:
    """Maps values to bytes in the order of the values; each segment has a sorted dictionary of them.

    Attributes
    ----------
    cuts : callable
        As `OrderedKeys.cuts`, with bytes as keys.
    from_arrow : callable
        Maps an Arrow array to its keys, as an array of strings or binaries.
    """

    cuts: Callable[[Attribute, Literal], tuple[bytes, bytes] | None]
    from_arrow: Callable[[Any], pa.Array]


@dataclass(frozen=True)
class ElementKeys:
    """Maps every element of a list to bytes, in no particular order.

    Attributes
    ----------
    item : AttributeRecord
        The type of the elements.
    key : callable
        ``key(attribute, literal)`` -> the key of the elements that equal the literal, `NO_ELEMENT` if none can; None if
        the literal cannot be compared with the elements.
    from_arrow : callable
        Maps an Arrow array of elements to its keys, as an array of strings or binaries.
    """

    item: AttributeRecord
    key: Callable[[Attribute, Literal], bytes | None]
    from_arrow: Callable[[Any], pa.Array]


def cast_plainly(array: Any, target: pa.DataType) -> Any:
    """Cast an Arrow array to a type, unless it already has it."""
    return array if array.type == target else array.cast(target)


@dataclass(frozen=True)
class AttributeRecord:
    """An attribute type: the Arrow types it accepts, how they are stored, and their keys.

    The layout of the stored column in files and messages, and its JSON form, follow from its Arrow type; see
    `vsearch.storage.files.column_types`.

    Attributes
    ----------
    name : str
        The name in schemas and manifests, such as ``timestamp[ns]``.
    plural : str
        The name of its values in messages, such as "integers"; "" for types that are not listed on their own.
    accepts : callable
        Returns whether an Arrow type other than a dictionary belongs to this attribute type. Imports pyarrow itself.
    stored : callable
        Returns the Arrow type in which an accepted Arrow type is stored.
    keys : OrderedKeys, ByteKeys or ElementKeys
        The keys that predicates are evaluated on.
    text : bool
        Whether values are text, to which LIKE, starts_with, upper and so on apply.
    scaled : bool
        Whether the type has a precision and a scale, like ``decimal(10, 2)``.
    hint : str
        Hint for the error about a literal that cannot be compared; begins with "; ".
    convert : callable
        ``convert(array, stored)`` casts an input array of an accepted type to its stored type.
    column : str
        Name of the stored column's type in manifests, where it differs from `name`; used where no Arrow library is loaded.
    """

    name: str
    plural: str
    accepts: Callable[[Any], bool]
    stored: Callable[[Any], pa.DataType]
    keys: OrderedKeys | ByteKeys | ElementKeys
    text: bool = False
    scaled: bool = False
    hint: str = ""
    convert: Callable[[Any, Any], Any] = cast_plainly
    column: str = ""
