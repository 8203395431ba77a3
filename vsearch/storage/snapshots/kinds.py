"""Kinds of files: what a manifest calls the files of a shard and of the model.

The names are part of the format; ``index/FORMAT.md`` says what each kind holds. Readers pass over kinds that they do not know.
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
"""The kind of file that holds the chunk checksums of all other files of its shard."""

ATTRIBUTES = "attributes"
CELLS = "cells"

DELTA = "delta"
"""Codes of the rows that a commit adds, row by row."""

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
"""What a shard has whatever else the index holds."""

SCANNED_KINDS = (CODES, ROWS, RERANK, PATCH_CODES, PATCH_NUMBERS, PATCH_RESIDUALS, PATCH_FACTORS, LISTS)
"""What a scan may read whole; a planner goes by their size."""

RANKED_KINDS = (PATCH_EXACT, PATCH_POSITIONS)
"""What is read of the best documents only."""

_COLUMN = "column-"


def column_kind(position: int, length: int) -> str:
    """The kind of the file that holds those arrays of an attribute's encoding that have this length."""
    return f"{_COLUMN}{position}-{length}"


def is_column(kind: str) -> bool:
    """Whether a file holds part of an attribute's encoding, other than its cells."""
    return kind.startswith(_COLUMN)


def column_kinds(kinds: Iterable[str], position: int) -> list[str]:
    """Those of some kinds that hold the encoding of the attribute at a position, other than its cells."""
    prefix = f"{_COLUMN}{position}-"
    return [kind for kind in kinds if kind.startswith(prefix)]


class ModelPart(StrEnum):
    """Parts of the model, by what the kinds of their files begin with; the value of `SEARCH` begins them all."""

    ENCODER = "encoder:"
    DOCUMENTS = "documents:"
    SEARCH = ""

    def kind(self, name: str) -> str:
        """The kind of a file of this part."""
        return f"{self.value}{name}"

    def files(self, model: Mapping[str, T]) -> dict[str, T]:
        """Files of this part by what their kinds say besides."""
        return {kind.removeprefix(self): entry for kind, entry in self.entries(model).items()}

    def entries(self, model: Mapping[str, T]) -> dict[str, T]:
        """Files of this part by their kinds."""
        return {kind: entry for kind, entry in model.items() if model_part(kind) is self}

    def others(self, model: Mapping[str, T]) -> dict[str, T]:
        """Files of the other parts by their kinds."""
        return {kind: entry for kind, entry in model.items() if model_part(kind) is not self}


SPLITS = "splits"
"""The file of the model that holds the centroids, and the numbers of these, of an index of which partitions were split."""


def model_part(kind: str) -> ModelPart:
    """The part of the model that a kind of file belongs to."""
    return next(part for part in ModelPart if kind.startswith(part))


def model_kind(length: int) -> str:
    """The kind of the file that holds those arrays of a part of the model that have this length."""
    return f"rows-{length}"
