"""Appends in many tasks: each chunk of rows becomes a delta, and one commit adds all of them.

Other writers can commit in the meantime. If one of their commits makes the deltas invalid, or may have added the same ids, the affected
tasks run again on the newest snapshot, in a further round.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.cluster.append_steps import find_known
from vsearch.cluster.context import Context, Place, open_context
from vsearch.cluster.job import Based, Checked, Encoded, Job
from vsearch.cluster.outputs import Outputs, refuse_missing
from vsearch.cluster.running import Engine, Progress, check_unchanged, run_stage
from vsearch.cluster.source import id_keys
from vsearch.errors import ConflictError, CorruptIndexError, InputError, VsearchWarning
from vsearch.live.commits import Commit, Draft, commit_change, known_change, newest_of
from vsearch.live.inputs import conform
from vsearch.live.merging import join_removed
from vsearch.live.operations import next_number, removed_at
from vsearch.search.state.deltas import take_ids
from vsearch.search.state.model_reading import training_of
from vsearch.storage.snapshots.manifest import encode_manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.search.state.deltas import Removed
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest, Store

ROUNDS = 8
"""Number of rounds after which an append gives up, because other writers changed too much in the meantime."""


@dataclass(eq=False)
class AppendDeltas:
    """Add the deltas of a round; does nothing, and is `outdated`, if a later snapshot does not allow it.

    Attributes
    ----------
    encoded, checked : Snapshot
        The snapshots that the rows were encoded for, and that their ids were compared with.
    chunks : list of Encoded
    expired : list of int
        For each chunk, the number of rows of the index that have one of its ids; all of these have expired.
    first : int
        Number of the first row, in an index that numbers its rows.
    reserved : bool
        Whether these numbers are reserved.
    keys : callable
        Reads the keys of the ids of a chunk.
    """

    encoded: Snapshot
    checked: Snapshot
    chunks: list[Encoded]
    expired: list[int]
    first: int
    reserved: bool
    keys: Callable[[Encoded], NDArray[np.int64]]
    kind: str = "append"
    outdated: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(chunk.delta.rows for chunk in self.chunks)

    def resolve(self, snapshot: Snapshot) -> Draft:
        numbered = snapshot.manifest.id_type == "row"
        self.outdated = not still_valid(self.encoded, snapshot) or not (
            self._numbers_free(snapshot) if numbered else self._ids_new(snapshot)
        )
        removed = None
        if not self.outdated and any(self.expired):
            removed = self._removed(snapshot)
        if self.outdated:
            return Draft()
        following = self.first + self.rows if numbered and not self.reserved else None
        return Draft(None, removed, added=self.rows, next_row=following, change=self._change)

    def _change(self, manifest: Manifest) -> Manifest:
        live = manifest.live
        if not live:
            raise ConflictError("an index of format 1 holds no deltas")
        numbered = [
            msgspec.structs.replace(chunk.delta, number=live.next_segment + place)
            for place, chunk in enumerate(self.chunks)
        ]
        live = msgspec.structs.replace(
            live, deltas=(*live.deltas, *numbered), next_segment=live.next_segment + len(numbered)
        )
        return msgspec.structs.replace(manifest, rows=manifest.rows + self.rows, live=live)

    def _numbers_free(self, snapshot: Snapshot) -> bool:
        following = next_number(snapshot)
        return following >= self.first + self.rows if self.reserved else following == self.first

    def _ids_new(self, snapshot: Snapshot) -> bool:
        """Whether no row that was added since the ids were compared has one of them; False if that is not known."""
        before, after = self.checked.manifest, snapshot.manifest
        if before.snapshot == after.snapshot:
            return True
        if [_run_paths(shard) for shard in before.shards] != [_run_paths(shard) for shard in after.shards]:
            return False  # their rows may have come from anywhere
        known = {entry.bundle.path for entry in before.live.deltas} if before.live else set()
        later = [
            delta.rows.ids
            for entry, delta in zip(after.live.deltas if after.live else (), snapshot.deltas, strict=True)
            if entry.bundle.path not in known and len(delta.rows)
        ]
        if not later:
            return True
        others = np.concatenate([_keys_of(ids) for ids in later])
        return not any(np.isin(others, self.keys(chunk)).any() for chunk in self.chunks)

    def _removed(self, snapshot: Snapshot) -> Removed | None:
        parts = []
        for chunk, count in zip(self.chunks, self.expired, strict=True):
            if count:
                try:
                    _, replaced = find_known(snapshot, chunk)
                except InputError:
                    self.outdated = True  # the check of the next round reports it
                    return None
                if replaced is not None:
                    old, ids = replaced
                    parts.append(removed_at(old.addresses, take_ids(ids, old.places)))
        return join_removed(parts)


@dataclass
class Reserve:
    """Reserve the numbers of rows that are appended later, so that other appends do not take them."""

    rows: int
    kind: str = "reserve"

    def resolve(self, snapshot: Snapshot) -> Draft:
        return Draft(next_row=next_number(snapshot) + self.rows, change=lambda manifest: manifest)


def append_job(
    snapshot: Snapshot,
    job: Job,
    engine: Engine,
    *,
    storage: Mapping[str, Any],
    source_storage: Mapping[str, Any],
    token: str | None,
    if_snapshot: int | None,
    progress: Progress,
) -> tuple[Commit, Snapshot]:
    """Run an append, or resume it, and commit it.

    Returns
    -------
    commit : Commit
    snapshot : Snapshot
        The snapshot that contains the rows, open.

    Raises
    ------
    InputError
        The rows are invalid, or an id is already in the index; no files are left behind.
    ConflictError
        The index was rebuilt, or changed in every round, `if_snapshot` is not the newest snapshot, or the job's objects were
        removed.
    """
    store = snapshot.store
    outputs = Outputs(store, job.id)
    attempt = outputs.begin(job)
    token = token or f"{job.id}-{attempt.generation}"  # a run that resumes after its commit recognizes it
    place = Place(store.url, dict(storage), dict(source_storage), job.id, attempt.generation)
    try:
        snapshot = newest_of(snapshot)
        done = _done(snapshot, token)
        if done is None:
            appending = _Appending(store, outputs, engine, place, open_context(place), progress)
            done, snapshot = appending.run(snapshot, token, if_snapshot)
    except InputError:
        outputs.clear()
        raise
    except (FileNotFoundError, CorruptIndexError, ConflictError) as error:
        snapshot = newest_of(snapshot)
        done = _done(snapshot, token)  # another run of the job finished first and removed its objects
        if done is None:
            if if_snapshot is not None and isinstance(error, ConflictError):
                outputs.clear()
            refuse_missing(error, store, "append", "it was pruned, or the index retrained; append again")
            raise
    outputs.clear()
    return done, snapshot


def still_valid(encoded: Snapshot, now: Snapshot) -> bool:
    """Whether rows that were encoded for a snapshot can be added to a later one unchanged."""
    before, after = encoded.manifest, now.manifest
    if training_of(before) != training_of(after) or before.attributes != after.attributes:
        return False
    used, left = (
        model.numbers_of(np.arange(len(model.centroids), dtype=np.int32)) for model in (encoded.model, now.model)
    )
    return bool(np.isin(used, left).all())  # a restore may undo a split


@dataclass(eq=False)
class _Appending:
    store: Store
    outputs: Outputs
    engine: Engine
    place: Place
    context: Context
    progress: Progress

    def run(self, snapshot: Snapshot, token: str, if_snapshot: int | None) -> tuple[Commit, Snapshot]:
        """Run round after round, until the commit succeeds."""
        encoded: Snapshot | None = None
        for turn in range(ROUNDS):
            based, checked = self._base(turn, newest_of(snapshot), encoded)
            if turn == 0:
                self._plan(checked)
            if based.encoded == turn:
                encoded = checked
                self._encode(turn)
            if encoded is None:
                encoded = self.context.base(based.encoded)[1]
            numbered = checked.manifest.id_type == "row"
            if not numbered:
                self._run("check", self._tasks(turn))
            operation = self._operation(based, turn, encoded, checked, numbered=numbered)
            commit, snapshot = commit_change(checked, operation, token=token, if_snapshot=if_snapshot, check=True)
            if not operation.outdated:
                return commit, snapshot
        msg = f"{self.store.url}: the index was changed during each of {ROUNDS} rounds of the append; append again when there are fewer changes"
        raise ConflictError(msg)

    def _base(self, turn: int, newest: Snapshot, encoded: Snapshot | None) -> tuple[Based, Snapshot]:
        """Record the snapshot that a round applies to, unless an earlier run did."""
        if not self.outputs.has("base", turn):
            first, used = next_number(newest), turn
            if turn and newest.manifest.id_type == "row":
                rows = self.context.plan.rows
                _, newest = commit_change(newest, Reserve(rows))
                first = next_number(newest) - rows
            elif turn and encoded is not None and still_valid(encoded, newest):
                used = self.outputs.read(Based, "base", turn - 1).encoded
            manifest = newest.manifest
            based = Based(manifest.snapshot, encode_manifest(manifest), used, first)
            self.outputs.finish("base", turn, based, ())
        return self.context.base(turn)

    def _plan(self, snapshot: Snapshot) -> None:
        """Plan the rows, and refuse what does not fit the index before they are read."""
        job = self.context.job
        self._run("files", range(-(-len(job.files) // job.files_per_task)))
        self._run("plan", range(1))
        plan, manifest = self.context.plan, snapshot.manifest
        for message in plan.warnings:
            warnings.warn(message, VsearchWarning, stacklevel=2)
        if plan.dimensions != manifest.dimensions:
            raise InputError(f"vectors must have the index's {manifest.dimensions} dimensions, got {plan.dimensions}")
        numbered = manifest.id_type == "row"
        if numbered and plan.id is not None:
            raise InputError("this index numbers its rows automatically: omit ids, or replace rows with upsert")
        if not numbered and plan.id is None:
            raise InputError("the rows of this index have ids: pass one id for each new row")
        if self.context.rows.attributes is not None:
            conform(self.context.rows.attributes.empty_table(), snapshot)

    def _encode(self, turn: int) -> None:
        self._run("encode", self._tasks(turn))
        check_unchanged(self.context)
        if turn == 0:
            self._run("ids", range(self.context.plan.buckets))

    def _operation(
        self, based: Based, turn: int, encoded: Snapshot, checked: Snapshot, *, numbered: bool
    ) -> AppendDeltas:
        chunks = [self.outputs.read(Encoded, "encode", number) for number in self._tasks(based.encoded)]
        expired = [0] * len(chunks)
        if not numbered:
            expired = [self.outputs.read(Checked, "check", number).expired for number in self._tasks(turn)]
        return AppendDeltas(encoded, checked, chunks, expired, based.first, bool(turn) and numbered, self._keys)

    def _keys(self, chunk: Encoded) -> NDArray[np.int64]:
        return np.empty(0, np.int64) if chunk.keys is None else self.outputs.arrays(chunk.keys)["key"]

    def _tasks(self, turn: int) -> range:
        chunks = self.context.plan.chunks
        return range(turn * chunks, (turn + 1) * chunks)

    def _run(self, stage: str, numbers: range) -> None:
        run_stage(self.outputs, self.engine, self.place, stage, numbers, self.progress)


def _run_paths(shard: Any) -> list[str]:
    return [run.bundle.path for run in shard.runs] + [entry.path for entry in shard.files.values()]


def _keys_of(ids: Any) -> NDArray[np.int64]:
    """Keys of the ids of a delta, as those of a source."""
    if isinstance(ids, np.ndarray):
        return ids
    import pyarrow as pa

    return id_keys(pa.chunked_array([ids]))


def _done(snapshot: Snapshot, token: str) -> Commit | None:
    entry = known_change(snapshot.manifest, token)
    return None if entry is None else Commit(entry.snapshot, entry.added, entry.replaced, entry.deleted)
