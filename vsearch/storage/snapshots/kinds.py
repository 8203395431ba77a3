"""Kinds of files: the names of the files of shards and of the model in a manifest.

The names are part of the format; ``index/FORMAT.md`` describes each kind. Readers ignore unknown kinds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

CODES = "codes"
ROWS = "rows"
RERANK = "rerank"
IDS = "ids"
PARTITIONS = "partitions"
CHECKSUMS = "checksums"
"""The file with the chunk checksums of all other files of its shard."""

COPY_PARTITIONS = "copy-partitions"
COPY_CODES = "copy-codes"
COPY_ROWS = "copy-rows"
COPY_KINDS = (COPY_PARTITIONS, COPY_CODES, COPY_ROWS)
"""Codes of the rows in second partitions, if the index has copies."""

ATTRIBUTES = "attributes"
CELLS = "cells"

DELTA = "delta"
"""Codes of the rows that a commit adds, in row-major order."""

REMOVED = "removed"
REMOVED_IDS = "removed-ids"
"""Rows of older segments that a commit removes, and their ids."""

DOCUMENTS = "documents"
PATCH_CODES = "patch-codes"
PATCH_NUMBERS = "patch-numbers"
PATCH_RESIDUALS = "patch-residuals"
PATCH_FACTORS = "patch-factors"
PATCH_POSITIONS = "patch-positions"
PATCH_EXACT = "patch-exact"
LIST_LENGTHS = "list-lengths"
LISTS = "lists"

VECTOR_KINDS = (CODES, ROWS, RERANK, IDS, PARTITIONS, CHECKSUMS)
"""Kinds that every shard has."""

SCANNED_KINDS = (
    *(CODES, ROWS, RERANK, COPY_CODES, COPY_ROWS),
    *(PATCH_CODES, PATCH_NUMBERS, PATCH_RESIDUALS, PATCH_FACTORS, LISTS),
)
"""Kinds that a scan may read completely; plans depend on their size."""

RANKED_KINDS = (PATCH_EXACT, PATCH_POSITIONS)
"""Kinds that are only read for the best documents."""

_COLUMN = "column-"


def column_kind(position: int, length: int) -> str:
    """Return the kind of the file with the arrays of this length of an attribute's encoding."""
    return f"{_COLUMN}{position}-{length}"


def is_column(kind: str) -> bool:
    """Whether a file contains part of an attribute's encoding, other than cells."""
    return kind.startswith(_COLUMN)


def column_kinds(kinds: Iterable[str], position: int) -> list[str]:
    """Return the kinds, other than cells, that contain the encoding of the attribute at a position."""
    prefix = f"{_COLUMN}{position}-"
    return [kind for kind in kinds if kind.startswith(prefix)]


_TEXT = "text-"


def text_kind(key: str, name: str) -> str:
    """Return the kind of a file of the postings of the text column with a key."""
    return f"{_TEXT}{key}-{name}"


_LEG = "leg-"


def leg_prefix(name: str) -> str:
    """Return the prefix of the kinds of the files of a leg."""
    return _TEXT if name == "text" else f"{_LEG}{name}-"


def leg_of_kind(kind: str) -> str | None:
    """Return the name of the leg that a file belongs to; None if it is not that of a leg."""
    if kind.startswith(_TEXT):
        return "text"
    return kind.removeprefix(_LEG).partition("-")[0] if kind.startswith(_LEG) else None


class ModelPart(StrEnum):
    """Parts of the model, identified by the prefix of the kinds of their files; that of `SEARCH` is empty."""

    ENCODER = "encoder:"
    DOCUMENTS = "documents:"
    SEARCH = ""

    def kind(self, name: str) -> str:
        """Return the kind of a file of this part."""
        return f"{self.value}{name}"

    def files(self, model: Mapping[str, T]) -> dict[str, T]:
        """Return the files of this part by their kinds without the prefix."""
        return {kind.removeprefix(self): entry for kind, entry in self.entries(model).items()}

    def entries(self, model: Mapping[str, T]) -> dict[str, T]:
        """Return the files of this part by their kinds."""
        return {kind: entry for kind, entry in model.items() if model_part(kind) is self}

    def others(self, model: Mapping[str, T]) -> dict[str, T]:
        """Return the files of the other parts by their kinds."""
        return {kind: entry for kind, entry in model.items() if model_part(kind) is not self}


SPLITS = "splits"
"""The model file with the centroids and partition numbers of an index with split partitions."""


def model_part(kind: str) -> ModelPart:
    """Return the part of the model that a kind of file belongs to."""
    return next(part for part in ModelPart if kind.startswith(part))


def model_kind(length: int) -> str:
    """Return the kind of the file with the arrays of this length of a part of the model."""
    return f"rows-{length}"
