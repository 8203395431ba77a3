"""Legs of an index that a job writes: the words of text columns, and weights. In a retraining, all legs of the index."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from vsearch.cluster.encoding_results import Legs, Weighed
from vsearch.legs.registry import all_legs_of
from vsearch.sparse.building import SparseWriter
from vsearch.storage.snapshots.text_entries import TextEntry
from vsearch.text.building import TextWriter
from vsearch.text.columns import read_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.building.shards import PartWriter
    from vsearch.cluster.outputs import Outputs
    from vsearch.storage import Manifest

KEY_DIGITS = 12


def describe_legs(text: Any, sparse: str | None) -> Legs | None:
    """Return the legs of a build, given its arguments; None without any.

    Keys of postings follow from the columns and their settings, so that the same command describes the same job.
    """
    if text is None and sparse is None:
        return None
    entry = None
    if text is not None:
        entry = TextEntry(
            tuple(
                column.entry(name, hashlib.blake2b(f"{name}\0{column!r}".encode()).hexdigest()[:KEY_DIGITS])
                for name, column in read_columns(text).items()
            )
        )
    return Legs(entry, sparse)


def check_legs(legs: Legs | None, attributes: pa.Schema | None) -> None:
    """Check that a source has the attributes that legs need.

    Raises
    ------
    InputError
        An attribute is missing or has another type.
    """
    for writer in _writers(legs, 1.0):
        writer.check(attributes)


def legs_of_job(legs: Legs | None, outputs: Outputs) -> tuple[PartWriter, ...]:
    """Return the writers of the legs of a build; they can describe the legs before these are weighed."""
    step = 1.0
    if legs is not None and legs.sparse is not None and outputs.has("weights"):
        step = outputs.read(Weighed, "weights").step
    return _writers(legs, step)


def legs_of_index(manifest: Manifest) -> tuple[PartWriter, ...]:
    """Return the writers of the legs of an index that is retrained."""
    return tuple(leg.rewriter(leg.entry(manifest)) for leg in all_legs_of(manifest))


def _writers(legs: Legs | None, step: float) -> tuple[PartWriter, ...]:
    writers: list[PartWriter] = []
    if legs is not None and legs.text is not None:
        writers.append(TextWriter(legs.text))
    if legs is not None and legs.sparse is not None:
        writers.append(SparseWriter(legs.sparse, step))
    return tuple(writers)
