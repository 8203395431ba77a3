"""The attribute columns of an index: their names and types."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from vsearch.errors import PredicateError


class AttributeType(StrEnum):
    """Names of the attribute types; their records are in `vsearch.predicates.types.table`."""

    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    BOOL = "bool"
    STRING = "string"
    TIMESTAMP = "timestamp"
    TIMESTAMP_NS = "timestamp[ns]"
    DATE = "date"
    STRINGS = "list<string>"
    INTEGERS = "list<int64>"
    HALVES = "list<float16>"
    SINGLES = "list<float32>"
    DOUBLES = "list<float64>"


ROW_ID = "id\0"
"""Name of the row ids in a bound predicate, which no attribute can have."""

_ROW_ID_NAMES = ("id", "_id")


class Attribute(msgspec.Struct, frozen=True):
    """One attribute column and the name of its type.

    `precision` and `scale` apply to decimals, whose values are integers / 10**scale.
    """

    name: str
    type: str
    precision: int = 0
    scale: int = 0

    @property
    def label(self) -> str:
        """The name that users see."""
        return "id" if self.name == ROW_ID else self.name

    @property
    def kind(self) -> str:
        """The type as text, with precision and scale for decimals: ``decimal(10, 2)``."""
        return f"{self.type}({self.precision}, {self.scale})" if self.precision else str(self.type)


class Schema(msgspec.Struct, frozen=True):
    """The attribute columns, in order, with distinct names.

    `row_id` is the type of the row ids, which predicates refer to as ``id`` or ``_id`` unless an attribute has that
    name; None if row ids cannot be filtered on.
    """

    attributes: tuple[Attribute, ...]
    row_id: str | None = None

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.attributes)

    def __len__(self) -> int:
        return len(self.attributes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(attribute.name for attribute in self.attributes)

    def find(self, name: str) -> Attribute:
        """Look up a column by name, case-insensitively as in SQL, unless two names differ only by case.

        Raises
        ------
        PredicateError
            No column has this name.
        """
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        alike = [attribute for attribute in self.attributes if attribute.name.lower() == name.lower()]
        if len(alike) == 1:
            return alike[0]
        if self.row_id is not None and name.lower() in _ROW_ID_NAMES:
            return Attribute(ROW_ID, self.row_id)
        raise PredicateError(f"no attribute column is named {name!r}; {self._hint(name)}")

    def _hint(self, name: str) -> str:
        if not self.attributes:
            return "this index was built without attributes" + (
                ", only `id` can be filtered on" if self.row_id is not None else ""
            )
        import difflib

        folded = {known.lower(): known for known in self.names}
        near = difflib.get_close_matches(name.lower(), folded, 1) or difflib.get_close_matches(
            name.lower().rpartition(".")[2], folded, 1
        )
        if near:
            return f"did you mean {folded[near[0]]!r}?"
        columns = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        return f"the columns are {columns}"
