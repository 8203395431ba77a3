"""Search an index by the weights of an attribute. Only the manifest is written; postings follow when runs are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from vsearch.checks import is_number
from vsearch.errors import InputError
from vsearch.live.commits import Draft
from vsearch.sparse.entries import NAME, SparseEntry
from vsearch.sparse.levels import choose_step, steps_of
from vsearch.sparse.weights import MOST_WEIGHT, read_rows
from vsearch.storage.snapshots.leg_entries import leg_entries
from vsearch.storage.snapshots.upgrading import upgraded
from vsearch.text.opening import texts_of

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


@dataclass(frozen=True)
class AddSparse:
    """Search by the weights of an attribute.

    Parameters
    ----------
    name : str
    largest : float or None
        The largest usual weight; None to choose the step by the rows of the index.
    """

    name: str
    largest: float | None
    kind: str = "add_sparse"

    def resolve(self, snapshot: Snapshot) -> Draft:
        attributes = {attribute.name: attribute for attribute in snapshot.manifest.attributes}
        if self.name not in attributes or attributes[self.name].type != "string":
            strings = ", ".join(name for name, attribute in attributes.items() if attribute.type == "string")
            raise InputError(
                f"column must be an attribute of maps or JSON objects ({strings or 'there are none'}), got {self.name!r:.100}"
            )
        if NAME in leg_entries(snapshot.manifest):
            raise InputError("this index is searched by weights already, and has one attribute of them")
        entry = SparseEntry(attributes[self.name].field_name, self._step(snapshot, attributes[self.name].field_name))

        def change(manifest: Manifest) -> Manifest:
            return with_sparse(upgraded(manifest), entry)

        return Draft(change=change)

    def _step(self, snapshot: Snapshot, field: str) -> float:
        """Choose the step, and check the weights of all rows: readers cannot leave out those that are invalid."""
        of_runs = [read_rows(texts_of(run, field), self.name).weights for run in snapshot.shards]
        weights = np.concatenate([np.empty(0), *of_runs])
        step = step_of(self.largest) if self.largest is not None or not len(weights) else choose_step(weights)
        steps_of(weights, step, self.name)
        return step


USUAL = 255 / 64
"""The largest usual weight if no rows are known, about 4 as of SPLADE: larger ones take more than 8 bits."""

LEAST = 1e-9
"""The least such weight that may be stated."""


def step_of(largest: float | None) -> float:
    """Return the step of weights up to `largest`.

    Raises
    ------
    InputError
        It is not a weight.
    """
    if largest is not None and not (is_number(largest) and LEAST <= largest <= MOST_WEIGHT):
        raise InputError(
            f"the largest usual weight must be a number from {LEAST:g} to {MOST_WEIGHT:g}, got {largest!r:.100}"
        )
    return choose_step(np.array([USUAL if largest is None else largest]))


def with_sparse(manifest: Manifest, entry: SparseEntry) -> Manifest:
    """Return a manifest whose index is searched by weights."""
    legs = dict(manifest.legs or {}) | {NAME: msgspec.to_builtins(entry)}
    return msgspec.structs.replace(manifest, legs=legs)
