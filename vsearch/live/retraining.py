"""Retraining: build a second index from the stored vectors, then replace the current one in a single commit.

Rows that other writers commit in the meantime are encoded with the new model at that point.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vsearch.building.encoding import encode_rows, original_vectors
from vsearch.building.inputs.attributes import AttributeSource
from vsearch.building.inputs.ids import IdSource
from vsearch.building.inputs.packed_bits import bit_source
from vsearch.building.inputs.rows import InputArguments, Inputs, KeptVectors, open_inputs
from vsearch.building.pipeline import write_index
from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.legs.registry import all_legs_of
from vsearch.live.commits import Draft, commit_change
from vsearch.live.operations import listed, remove, stored_ids
from vsearch.search.defaults import DEFAULT_K, DEFAULT_RECALL, tune_defaults
from vsearch.search.engine.rows import matching_rows
from vsearch.search.state.deltas import Removed, Rows
from vsearch.search.state.expiry import present
from vsearch.search.state.fetching import reconstruct, take_fields, take_ids
from vsearch.search.state.id_lookup import find_ids
from vsearch.search.state.shard import Addresses
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import discarded_on_failure
from vsearch.storage.snapshots.condemned import discard
from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.snapshots.upgrading import upgraded
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from vsearch.building.inputs.vectors import VectorSource
    from vsearch.building.shards import PartWriter
    from vsearch.building.training import BuildOptions
    from vsearch.live.commits import Commit
    from vsearch.live.optimizing import Progress
    from vsearch.search.state.model import SearchSettings
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


PRODUCT_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """Vectors of rows of a snapshot, decoded from its rerank codes.

    Attributes
    ----------
    snapshot : Snapshot
    positions : int64 (rows,)
    """

    snapshot: Snapshot
    positions: NDArray[np.int64]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def rows(self) -> int:
        return len(self.positions)

    @property
    def dimensions(self) -> int:
        return self.snapshot.manifest.dimensions

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start:stop``."""
        return self._vectors(self.positions[start:stop])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return selected rows."""
        return self._vectors(self.positions[np.asarray(rows, np.int64)])

    def _vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return stored_vectors(self.snapshot, positions)


def stored_vectors(snapshot: Snapshot, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Decode the vectors of rows, float32 (n, d); each is independent of the others.

    Sums in a matrix product may depend on the number and the places of its rows. They are computed in float64, where such
    differences are lost in the final rounding, except about once in 10^9 numbers.
    """
    rotated = reconstruct(snapshot, positions)
    result = np.empty(rotated.shape, np.float32)
    for start in range(0, len(rotated), PRODUCT_ROWS):
        rows = slice(start, start + PRODUCT_ROWS)
        result[rows] = original_vectors(snapshot.model, rotated[rows].astype(np.float64))
    return result


@dataclass(frozen=True, eq=False)
class PassedVectors:
    """Vectors passed to a retraining, by id.

    Attributes
    ----------
    source : VectorSource
    ids : int64 (n,) ascending, or pyarrow.Array of strings
    places : int64 (n,)
        Position of each id in the source.
    """

    source: VectorSource
    ids: Any
    places: NDArray[np.int64]

    def of(self, snapshot: Snapshot, positions: NDArray[np.int64]) -> KeptVectors:
        """Return the vectors of rows of a snapshot.

        Raises
        ------
        InputError
            Some are missing.
        """
        ids = stored_ids(snapshot, positions)
        if isinstance(self.ids, np.ndarray):
            at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            missing = self.ids[at] != ids
        else:
            import pyarrow.compute as pc

            matches = pc.index_in(ids, value_set=self.ids)
            missing = matches.is_null().to_numpy(zero_copy_only=False)
            at = matches.fill_null(0).to_numpy(zero_copy_only=False)
        if missing.any():
            raise InputError(f"vectors must contain all rows; missing: {listed(ids, missing)}")
        return KeptVectors(self.source, self.places[at])


@dataclass(eq=False)
class Retrain:
    """Replace a snapshot by an index that was built from its rows.

    Attributes
    ----------
    start : Snapshot
    positions : int64 (n,)
        The rows of `start` that were built.
    built : Snapshot
        The new index, whose manifest is not committed.
    vectors : PassedVectors or None
    """

    start: Snapshot
    positions: NDArray[np.int64]
    built: Snapshot
    vectors: PassedVectors | None = None
    kind: str = "retrain"

    def resolve(self, snapshot: Snapshot) -> Draft:
        now = matching_rows(present(snapshot), None)
        before, after = _keys(self.start.addresses(self.positions)), _keys(snapshot.addresses(now))
        gone = self.positions[~np.isin(before, after)]
        fresh = now[~np.isin(after, before)]
        live = upgraded(snapshot.manifest).live
        if not live:
            raise ConflictError("the index was rebuilt in the meantime")
        first = live.next_segment
        removed = remove(self.built, find_ids(self.built, take_ids(self.start, gone)))
        if removed is not None:
            removed = Removed(removed.segments + np.uint32(first), removed.rows, removed.ids)
        rows = self._encode(snapshot, fresh) if len(fresh) else None
        return Draft(rows, removed, change=lambda manifest: self._change(manifest, first), model=self.built.model)

    def _encode(self, snapshot: Snapshot, fresh: NDArray[np.int64]) -> Rows:
        """Encode rows that were added in the meantime."""
        if self.vectors is None:
            vectors: Any = StoredVectors(snapshot, fresh).read(0, len(fresh))
        else:
            vectors = self.vectors.of(snapshot, fresh).read(0, len(fresh))
        codes, order = encode_rows(self.built.model, vectors)
        fresh, names = fresh[order], snapshot.schema.names
        return Rows(codes, stored_ids(snapshot, fresh), take_fields(snapshot, names, fresh) if names else None)

    def _change(self, manifest: Manifest, first: int) -> Manifest:
        built = self.built.manifest
        manifest = upgraded(manifest)
        shards = tuple(msgspec.structs.replace(shard, segment=first + shard.number) for shard in built.shards)
        live = manifest.live
        if not live:
            return manifest
        live = msgspec.structs.replace(
            live,
            next_segment=first + len(shards),
            trained_rows=built.rows,
            tuned_rows=built.rows,
            changed=0,
            deltas=(),
            pending=None,
        )
        return msgspec.structs.replace(
            manifest,
            rows=built.rows,
            quantizer=built.quantizer,
            rerank=built.rerank,
            partitions=built.partitions,
            seed=built.seed,
            model=built.model | ModelPart.ENCODER.entries(manifest.model),
            shards=shards,
            settings=built.settings,
            spill=built.spill,
            live=live,
        )


def retrain(
    snapshot: Snapshot,
    options: BuildOptions,
    vectors: object | None = None,
    arguments: InputArguments | None = None,
    *,
    progress: Progress,
) -> tuple[Commit, Snapshot]:
    """Retrain an index and commit it.

    Parameters
    ----------
    options : BuildOptions
        With the metric of the index.
    vectors, arguments : optional
        The vectors of all rows with their ids, to use instead of the stored ones.

    Raises
    ------
    InputError
        The index has no rows; or it does not store its vectors, and some are missing in `vectors`.
    ConflictError
        The index was rebuilt or retrained in the meantime.
    """
    positions = matching_rows(present(snapshot), None)
    check_retrainable(snapshot, vectors, len(positions))
    writer, store = uuid4().hex, snapshot.store
    with scratch_folder() as scratch:
        passed = (
            None if vectors is None or arguments is None else _open_passed(snapshot, vectors, arguments, str(scratch))
        )
        source: Any = StoredVectors(snapshot, positions) if passed is None else passed.of(snapshot, positions)
        with discarded_on_failure(store, writer):
            inputs = Inputs(source, _attributes(snapshot, positions), _ids(snapshot, positions), {})
            manifest = write_index(store, inputs, options, writer, progress, _parts(snapshot.manifest))
            progress("tune", 0, 1)
            settings = tune_like(snapshot, open_snapshot(store, manifest))
            manifest = msgspec.structs.replace(
                manifest, settings=settings.to_entry(), id_type=snapshot.manifest.id_type
            )
            built = open_snapshot(store, manifest)
            progress("tune", 1, 1)
        try:
            return commit_change(snapshot, Retrain(snapshot, positions, built, passed), check=True)
        except StoreError:
            raise  # the commit may have succeeded
        except BaseException:
            with suppress(StoreError):
                discard(store, writer)
            raise


def tune_like(before: Snapshot, built: Snapshot) -> SearchSettings:
    """Find the settings of a retrained index, for the target of the index before."""
    target, k = before.settings.target, before.settings.k
    if _pending(before):
        target, k = None, None  # those of an untrained index are not targets to tune for
    return tune_defaults(built, target or DEFAULT_RECALL, k or DEFAULT_K)


def _parts(manifest: Manifest) -> tuple[PartWriter, ...]:
    return tuple(leg.rewriter(leg.entry(manifest)) for leg in all_legs_of(manifest))


def _pending(snapshot: Snapshot) -> bool:
    live = snapshot.manifest.live
    return live is not UNSET and live.pending is not None


def check_retrainable(snapshot: Snapshot, vectors: object | None, rows: int) -> None:
    """Refuse to retrain an index that has no rows, or does not store what retraining needs.

    Raises
    ------
    InputError
        The index has no rows, was trained by `vsearch.jpq`, or does not store its vectors and none are passed.
    """
    manifest = snapshot.manifest
    if not rows:
        raise InputError("cannot retrain an index without rows")
    if manifest.provenance.jpq is not UNSET:
        raise InputError(
            "cannot retrain an index that vsearch.jpq trained, since that training would be lost: build and train it again"
        )
    if manifest.rerank is None and vectors is None:
        raise InputError(
            f"this index ({manifest.quantizer.name} without rerank codes) does not store its vectors: pass them as vectors="
        )


def _open_passed(snapshot: Snapshot, vectors: object, arguments: InputArguments, scratch: str) -> PassedVectors:
    manifest = snapshot.manifest
    inputs = open_inputs(vectors, arguments, snapshot.model.metric, scratch)
    if snapshot.model.bitwise:
        inputs = replace(inputs, vectors=bit_source(inputs.vectors, manifest.dimensions))
    if inputs.vectors.dimensions != manifest.dimensions:
        raise InputError(
            f"vectors must have the index's {manifest.dimensions} dimensions, got {inputs.vectors.dimensions}"
        )
    if (inputs.ids.kind == "string") != (manifest.id_type == "string") or (
        inputs.ids.kind == "row" and manifest.id_type != "row"
    ):
        raise InputError(f"ids of vectors must have the index's id type {manifest.id_type}, got {inputs.ids.kind}")
    places = np.arange(inputs.vectors.rows)
    ids = inputs.ids.take(places)
    if isinstance(ids, np.ndarray):
        places = np.argsort(ids, kind="stable")
        ids = ids[places]
    return PassedVectors(inputs.vectors, ids, places)


def _attributes(snapshot: Snapshot, positions: NDArray[np.int64]) -> AttributeSource | None:
    """Return attributes under their field names, which do not change."""
    names = snapshot.schema.names
    return AttributeSource(take_fields(snapshot, names, positions), len(positions)) if names else None


def _ids(snapshot: Snapshot, positions: NDArray[np.int64]) -> IdSource:
    ids = stored_ids(snapshot, positions)
    if snapshot.manifest.id_type == "string":
        import pyarrow as pa

        ids = pa.table({"id": ids})
    return IdSource("string" if snapshot.manifest.id_type == "string" else "int64", len(positions), ids)


def _keys(addresses: Addresses) -> NDArray[np.uint64]:
    return (addresses.segments.astype(np.uint64) << np.uint64(32)) | addresses.rows.astype(np.uint64)
