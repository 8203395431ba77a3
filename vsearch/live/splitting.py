"""Split oversized partitions when the base of their shard is rewritten.

A split partition keeps its number, its centroid and the rows nearest to it, so that existing deltas remain valid. The other
rows are decoded from their rerank codes and encoded for new centroids.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vsearch.building.encoding import decode_rows, encode_rotated
from vsearch.building.partitioning import largest_partition, pieces_of, split_rows, train_centroids
from vsearch.building.regions import extend_regions
from vsearch.live.merging import live_counts, live_positions, runs_of
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import Rows, take_ids
from vsearch.search.state.fetching import reconstruct
from vsearch.search.state.row_codes import RowCodes
from vsearch.storage import write_arrays
from vsearch.storage.snapshots.kinds import SPLITS

if TYPE_CHECKING:
    from vsearch.search.state.model import Model
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import FileEntry, Manifest, Store

BATCH_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class Split:
    """A split of partitions of a snapshot.

    Attributes
    ----------
    before, model : Model
        The models without and with the new partitions, which follow the other partitions of their shard.
    places : int32 (old partitions,)
        New positions of the old partitions.
    added : list of int
        Number of new partitions of each shard.
    positions, partitions : int64 (n,) ascending, int32 (n,)
        Rows of the partitions that are split, and the new partition of each.
    count : int
        Number of partitions that are split.
    """

    before: Model
    model: Model
    places: NDArray[np.int32]
    added: list[int]
    positions: NDArray[np.int64]
    partitions: NDArray[np.int32]
    count: int

    def apply(self, rows: Rows, positions: NDArray[np.int64]) -> tuple[Rows, NDArray[np.int64]]:
        """Return rows encoded by the new model, and their positions; both sorted by partition.

        Rows of other partitions keep their codes.
        """
        selected = np.flatnonzero(np.isin(positions, self.positions))
        others = np.setdiff1d(np.arange(len(positions)), selected, assume_unique=True)
        codes = row_codes.take(rows.codes, others)
        codes = replace(codes, partitions=self.places[codes.partitions])
        if len(selected):
            partitions = self.partitions[np.searchsorted(self.positions, positions[selected])]
            codes = row_codes.concatenate([codes, self._encode(row_codes.take(rows.codes, selected), partitions)])
        mixed = np.concatenate([others, selected])
        order = np.lexsort((mixed, codes.partitions))
        mixed = mixed[order]
        attributes = None if rows.attributes is None else rows.attributes.take(mixed)
        return Rows(row_codes.take(codes, order), take_ids(rows.ids, mixed), attributes), positions[mixed]

    def partitions_of(self, before: range, number: int) -> range:
        """Return the new partitions of a shard, given the old ones."""
        first = int(self.places[before.start])
        return range(first, first + len(before) + self.added[number])

    def _encode(self, codes: RowCodes, partitions: NDArray[np.int32]) -> RowCodes:
        """Encode rows of split partitions for their new partitions.

        Rows that stay keep their codes; their squares are computed again.
        """
        parts = []
        for start in range(0, len(codes), BATCH_ROWS):
            batch = np.arange(start, min(start + BATCH_ROWS, len(codes)))
            old = row_codes.take(codes, batch)
            new = encode_rotated(self.model, decode_rows(self.before, old), partitions[batch])
            stay = self.places[old.partitions] == new.partitions
            kept = old.to_arrays() | {"partitions": new.partitions, "squares": new.squares}
            columns: dict[str, Any] = {
                name: np.where(stay.reshape(-1, *[1] * (column.ndim - 1)), kept[name], column)
                for name, column in new.to_arrays().items()
            }
            parts.append(replace(new, **columns))
        return row_codes.concatenate(parts)


@dataclass(frozen=True, eq=False)
class SplitOutput:
    """A split, and the file with the centroids and numbers of its model."""

    split: Split
    entry: FileEntry

    def applies(self, manifest: Manifest, start: Manifest) -> bool:
        """Whether a snapshot still has the partitions of the snapshot that was split."""
        now, before = manifest.live, start.live
        return bool(now and before and now.next_partition == before.next_partition and manifest.model == start.model)

    def change(self, manifest: Manifest) -> Manifest:
        """Return a manifest with the new model. Rows of split partitions count as changed for the next tuning."""
        split, live = self.split, manifest.live
        if not live or split.model.numbers is None:
            raise ValueError("only a changed index has partitions to split")
        return msgspec.structs.replace(
            manifest,
            partitions=len(split.model.centroids),
            model={**manifest.model, SPLITS: self.entry},
            shards=tuple(
                msgspec.structs.replace(shard, partitions=shard.partitions + split.added[shard.number])
                for shard in manifest.shards
            ),
            live=msgspec.structs.replace(
                live,
                next_partition=int(split.model.numbers.max()) + 1,
                changed=live.changed + len(split.positions),
            ),
        )


def write_split(store: Store, path: str, split: Split) -> SplitOutput:
    """Write the file of a split."""
    return SplitOutput(split, _write_splits(store, path, split.model))


def can_split(manifest: Manifest) -> bool:
    """Whether rows can be encoded again: their vectors are stored, and nothing was trained on their codes."""
    live = manifest.live
    trained = manifest.provenance.jpq is not UNSET or manifest.documents is not None
    return bool(live and live.pending is None and manifest.rerank is not None and not trained)


def plan_split(snapshot: Snapshot, shards: Collection[int]) -> Split | None:
    """Split partitions of some shards until none has more than four times the mean number of rows.

    As in a build, by k-means on their rows, or if that does not help (duplicates) into equal parts. Rows of other partitions
    do not move.

    Returns
    -------
    Split or None
        None if no partition is oversized or none can be split.
    """
    if not can_split(snapshot.manifest):
        return None
    pieces = _Pieces(snapshot)
    chosen = list(shards)
    while True:
        limit = largest_partition(pieces.counts)
        oversize = np.flatnonzero((pieces.counts > limit) & np.isin(pieces.owners, chosen))
        if not len(oversize):
            return pieces.finish() if pieces.members else None
        for partition in oversize.tolist():
            pieces.split(partition, limit)


class _Pieces:
    """The partitions of a snapshot during splits; new ones follow all others.

    Attributes
    ----------
    counts, owners : int64 (partitions,)
        Number of live rows of each partition, and its shard.
    members : dict of int to int64 array
        Positions of the rows of the split and the new partitions.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot, self.centroids = snapshot, snapshot.model.centroids
        self.before = len(self.centroids)
        self.counts, shards = live_counts(snapshot), snapshot.manifest.shards
        self.owners = np.repeat(np.arange(len(shards)), [shard.partitions for shard in shards])
        self.members: dict[int, NDArray[np.int64]] = {}
        self._runs, tail = runs_of(snapshot)
        self._tails = [] if tail is None else [tail]

    def split(self, partition: int, limit: float) -> None:
        """Split a partition with more rows than `limit`."""
        owner, snapshot = int(self.owners[partition]), self.snapshot
        positions = self.members.get(partition)
        if positions is None:
            positions = live_positions([*self._runs[owner], *self._tails], range(partition, partition + 1))
        centroid, pieces = self.centroids[partition], pieces_of(len(positions), limit)
        train, take = partial(_train, snapshot.model, centroid), partial(reconstruct, snapshot)
        chosen, fresh = split_rows(positions, take, centroid, pieces, train, snapshot.manifest.seed)
        places = [partition, *range(len(self.counts), len(self.counts) + len(fresh) - 1)]
        self.members |= {place: positions[chosen == piece] for piece, place in enumerate(places)}
        sizes = np.bincount(chosen, minlength=len(fresh))
        self.counts[partition] = sizes[0]
        self.counts = np.append(self.counts, sizes[1:])
        self.owners = np.append(self.owners, np.full(len(fresh) - 1, owner))
        self.centroids = np.concatenate([self.centroids, fresh[1:]])

    def finish(self) -> Split:
        """Return the split, without new partitions that have no rows."""
        model, before = self.snapshot.model, self.before
        fresh = before + np.flatnonzero(self.counts[before:])
        kept = np.concatenate([np.arange(before), fresh])
        order = kept[np.argsort(self.owners[kept], kind="stable")]
        places, numbers = np.empty(len(self.counts), np.int32), np.empty(len(self.counts), np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        numbers[:before] = model.numbers_of(np.arange(before, dtype=np.int32))
        numbers[fresh] = next_partition(self.snapshot) + np.arange(len(fresh), dtype=np.int32)
        regions = model.regions
        if regions is not None:
            added_regions = extend_regions(regions, model.centroids, self.centroids[before:])
            regions = np.concatenate([regions, added_regions])[order]
        members = {place: rows for place, rows in self.members.items() if len(rows)}
        positions = np.concatenate(list(members.values()))
        partitions = np.repeat(places[list(members)], [len(rows) for rows in members.values()])
        by_position = np.argsort(positions)
        added = np.bincount(self.owners[fresh], minlength=len(self.snapshot.manifest.shards))
        return Split(
            before=model,
            model=model.with_centroids(self.centroids[order], numbers[order], regions),
            places=places[:before],
            added=added.tolist(),
            positions=positions[by_position],
            partitions=partitions[by_position],
            count=sum(place < before for place in self.members),
        )


def next_partition(snapshot: Snapshot) -> int:
    """Return the number of the next new partition, which no snapshot has used."""
    live, numbers = snapshot.manifest.live, snapshot.model.numbers
    used = len(snapshot.model.centroids) if numbers is None else int(numbers.max()) + 1
    return max(live.next_partition if live else 0, used)


def _train(
    model: Model, centroid: NDArray[np.float32], sample: NDArray[np.float32], pieces: int, seed: int
) -> NDArray[np.float32]:
    """Train centroids of a sample in addition to one that is kept; rounded as they are stored."""
    fresh = train_centroids(sample, pieces, seed)
    if model.half_centroids is not None:
        fresh = fresh.astype(np.float16).astype(np.float32)
    return np.concatenate([centroid[None], fresh])


def _write_splits(store: Store, path: str, model: Model) -> FileEntry:
    """Write the centroids, numbers and regions of a model with split partitions."""
    if model.numbers is None:
        raise ValueError("no partition of the model was split")
    centroids = model.centroids if model.half_centroids is None else model.half_centroids
    regions = {} if model.regions is None else {"regions": model.regions}
    return write_arrays(store, path, {"centroids": centroids, "numbers": model.numbers, **regions})[0]
