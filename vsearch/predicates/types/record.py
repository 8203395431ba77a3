"""What a record says of an attribute type."""

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
    """The nearest of LOWEST to TOP."""
    return min(max(key, LOWEST), TOP)


@dataclass(frozen=True)
class OrderedKeys:
    """Values become int64 keys whose order is the values' order.

    Attributes
    ----------
    cuts : callable
        ``cuts(attribute, literal)``: the least key of a value >= the literal, and > the literal, each -2**63 to 2**63; None
        where the literal does not compare with the type. They differ only where a value can equal the literal.
    from_values : callable
        Keys int64 (rows,) of the numbers that the exact column stores.
    numbers : callable
        From an Arrow array, as `AttributeRecord.accepts` it, to one of the numbers that `from_values` takes.
    whole : bool
        Whether a whole number is its own key: then long lists of them need no cuts.
    """

    cuts: Callable[[Attribute, Literal], tuple[int, int] | None]
    from_values: Callable[[npt.NDArray[Any]], npt.NDArray[np.int64]]
    numbers: Callable[[Any], pa.Array]
    whole: bool = False


@dataclass(frozen=True)
class ByteKeys:
    """Values become bytes whose order is the values' order; they lie in a sorted dictionary of each segment.

    Attributes
    ----------
    cuts : callable
        As that of `OrderedKeys`, of bytes.
    from_arrow : callable
        Keys of an Arrow array, as an array of strings or binaries.
    """

    cuts: Callable[[Attribute, Literal], tuple[bytes, bytes] | None]
    from_arrow: Callable[[Any], pa.Array]


@dataclass(frozen=True)
class ElementKeys:
    """Values are lists, and every element becomes bytes; nothing is said of their order.

    Attributes
    ----------
    item : AttributeRecord
        Of the elements.
    key : callable
        ``key(attribute, literal)``: the key of elements that equal the literal, `NO_ELEMENT` where none can; None where the
        literal does not compare.
    from_arrow : callable
        Keys of an Arrow array of elements, as an array of strings or binaries.
    """

    item: AttributeRecord
    key: Callable[[Attribute, Literal], bytes | None]
    from_arrow: Callable[[Any], pa.Array]


def cast_plainly(array: Any, target: pa.DataType) -> Any:
    """An Arrow array cast to another type, where it has another."""
    return array if array.type == target else array.cast(target)


@dataclass(frozen=True)
class AttributeRecord:
    """An attribute type: what it accepts, how it is stored and how predicates see it.

    How the stored column lies in files and messages, and reads as JSON, follows from its Arrow type:
    `vsearch.storage.files.column_types` has a record of that.

    Attributes
    ----------
    name : str
        As schemas and manifests have it, such as ``timestamp[ns]``.
    plural : str
        What messages call values that may be brought, such as "integers"; "" for types that are not listed by themselves.
    accepts : callable
        Whether an Arrow type, no dictionary, is one of this attribute type. Imports pyarrow itself.
    stored : callable
        The Arrow type that such an Arrow type is kept in.
    keys : OrderedKeys, ByteKeys or ElementKeys
        How predicates see values.
    text : bool
        Whether values are text: LIKE, starts_with, upper and so on apply.
    scaled : bool
        Whether the type has a precision and a scale, as ``decimal(10, 2)`` has.
    hint : str
        What helps where a literal does not compare; begins with "; ".
    convert : callable
        ``convert(array, stored)`` casts an array that `accepts` accepts, on the way in.
    column : str
        What manifests call the type of the stored column, where that is not the name: for who has no Arrow library.
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
