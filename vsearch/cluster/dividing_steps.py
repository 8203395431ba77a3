"""Tasks that divide the rows: assign them to centroids, check ids, split oversized partitions, assign partitions to shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.building.encoding import model_of
from vsearch.building.inputs.ids import repeated, require_distinct
from vsearch.building.members import count_rows
from vsearch.building.partitioning import Partitioning, oversize_partitions, split_once
from vsearch.building.pipeline import model_arrays, write_model
from vsearch.building.steps import BATCH_ROWS, assign_batch, deal
from vsearch.building.training import prepare_vectors
from vsearch.cluster.context import Context
from vsearch.cluster.data_files import DataFile
from vsearch.cluster.job import Assigned, Dealt, Distinct, Divided, Encoded, Picked
from vsearch.cluster.outputs import Outputs
from vsearch.cluster.source import id_keys
from vsearch.cluster.training_steps import gather_rows
from vsearch.storage import CodecEntry
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from vsearch.quantizers.rerank_codes import Rerank


def assign_chunk(context: Context, number: int) -> None:
    """Find the nearest centroid of each row of a chunk, and compute keys of the ids."""
    outputs, plan = context.outputs, context.plan
    start, stop = plan.chunk(number)
    members = np.empty(stop - start, np.int32)
    for first in range(start, stop, BATCH_ROWS):
        last = min(first + BATCH_ROWS, stop)
        raw = context.rows.files.vectors(first, last)
        members[first - start : last - start] = assign_batch(raw, first, context.trained, context.options)
    file = outputs.write("assign", number, "members", {"members": members})
    keys, edges = write_keys(context, outputs, "assign", number, context.rows.ids(start, stop))
    paths = [data_file.entry.path for data_file in (file, keys) if data_file is not None]
    outputs.finish("assign", number, Assigned(file, keys, edges), paths)


def write_keys(
    context: Context, outputs: Outputs, stage: str, number: int, ids: Any
) -> tuple[DataFile | None, tuple[int, ...]]:
    """Write the keys of the ids of a chunk by bucket; return the file, and the start of each bucket. None without ids."""
    buckets = context.plan.buckets
    if not buckets:
        return None, ()
    keys_of_ids = id_keys(ids)
    bucket = keys_of_ids.view(np.uint64) % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    keys = outputs.write(stage, number, "keys", {"key": keys_of_ids[order]})
    return keys, tuple(np.searchsorted(bucket[order], np.arange(buckets + 1)).tolist())


def compare_ids(context: Context, number: int) -> None:
    """Refuse duplicate ids in one bucket.

    Raises
    ------
    InputError
        An id occurs more than once.
    """
    outputs, plan = context.outputs, context.plan
    parts = []
    for chunk in range(plan.chunks):
        outcome: Assigned | Encoded = (
            outputs.read(Encoded, "encode", chunk)
            if context.job.kind == "append"
            else outputs.read(Assigned, "assign", chunk)
        )
        if outcome.keys is not None:
            parts.append(outputs.arrays(outcome.keys, outcome.edges[number], outcome.edges[number + 1])["key"])
    keys = np.concatenate(parts)
    twice = repeated(keys)
    if len(twice):
        label = f"ids (column {plan.id!r})"
        require_distinct(twice.tolist() if plan.id_kind == "int64" else _equal_strings(context, twice), label)
    outputs.finish("ids", number, Distinct(len(keys)), ())


def split_partitions(context: Context, number: int) -> None:
    """Split oversized partitions, using the rows gathered from them; round 0 only identifies these partitions."""
    outputs, plan = context.outputs, context.plan
    with scratch_folder() as folder:
        scratch = Path(folder)
        members = np.memmap(scratch / "members", np.int32, "w+", shape=(plan.rows,))
        if number == 0:
            for chunk in range(plan.chunks):
                assigned = outputs.read(Assigned, "assign", chunk).members
                members[slice(*plan.chunk(chunk))] = outputs.arrays(assigned)["members"]
            divided = Partitioning(context.trained.centroids, members)
        else:
            before = outputs.read(Divided, "split", number - 1)
            for chunk in range(plan.chunks):
                start, stop = plan.chunk(chunk)
                members[start:stop] = outputs.arrays(before.members, start, stop)["members"]
            divided = Partitioning(outputs.arrays(before.centroids)["centroids"].copy(), members)
            take = _gathered(context, outputs, number - 1, scratch)
            divided = split_once(divided, np.array(before.oversize, np.int64), take, context.options.seed)
        oversize = oversize_partitions(divided)
        outcome = Divided(
            outputs.write("split", number, "members", {"members": divided.members}),
            outputs.write("split", number, "centroids", {"centroids": divided.centroids}),
            tuple(oversize.tolist()),
        )
    outputs.finish("split", number, outcome, [outcome.members.entry.path, outcome.centroids.entry.path])


def gather_oversize(context: Context, number: int) -> None:
    """Collect the rows of a chunk that belong to partitions to be split; tasks are numbered by round, then by chunk."""
    split, chunk = divmod(number, context.plan.chunks)
    start, stop = context.plan.chunk(chunk)
    outputs = context.outputs
    before = outputs.read(Divided, "split", split)
    members = outputs.arrays(before.members, start, stop)["members"]
    rows = start + np.flatnonzero(np.isin(members, np.array(before.oversize)))
    gather_rows(context, chunk, rows, number)


def deal_partitions(context: Context, number: int) -> None:
    """Assign the final partitions to shards, and write the model of the index."""
    outputs, plan = context.outputs, context.plan
    rounds = 0
    while (last := outputs.read(Divided, "split", rounds)).oversize:
        rounds += 1
    centroids = outputs.arrays(last.centroids)["centroids"]
    all_counts = np.zeros(len(centroids), np.int64)
    for chunk in range(plan.chunks):
        all_counts += count_rows(outputs.arrays(last.members, *plan.chunk(chunk))["members"], len(centroids))
    used = np.flatnonzero(all_counts)
    counts, kept = all_counts[used], np.ascontiguousarray(centroids[used])
    trained, dealt = deal(replace(context.trained, centroids=kept), counts, plan.rows, context.options)
    model = model_of(trained, context.options.metric, cast("Rerank | None", context.options.rerank))
    order = np.concatenate(dealt)
    places = np.zeros(len(centroids), np.int32)
    places[used[order]] = np.arange(len(order), dtype=np.int32)
    files = write_model(outputs.store, outputs.writer, model_arrays(model))
    with scratch_folder() as folder:
        members = np.memmap(Path(folder) / "members", np.int32, "w+", shape=(plan.rows,))
        for chunk in range(plan.chunks):
            start, stop = plan.chunk(chunk)
            members[start:stop] = places[outputs.arrays(last.members, start, stop)["members"]]
        outcome = Dealt(
            files,
            CodecEntry(model.quantizer.name, model.quantizer.configuration()),
            outputs.write("deal", number, "members", {"members": members}),
            outputs.write("deal", number, "counts", {"counts": counts[order]}),
            tuple(np.cumsum([0, *(len(partitions) for partitions in dealt)]).tolist()),
        )
    paths = [outcome.members.entry.path, outcome.counts.entry.path, *(entry.path for entry in files.values())]
    outputs.finish("deal", number, outcome, paths)


def _gathered(
    context: Context, outputs: Outputs, split: int, scratch: Path
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """Return a function for prepared vectors of the rows gathered in a round; the rows are copied to a local file."""
    plan, rows = context.plan, [np.empty(0, np.int64)]
    path = scratch / "gathered"
    with path.open("wb") as file:
        for chunk in range(plan.chunks):
            picked: DataFile | None = outputs.read(Picked, "gather", split * plan.chunks + chunk).file
            if picked is not None:
                arrays: dict[str, Any] = outputs.arrays(picked)
                rows.append(arrays["row"])
                file.write(np.ascontiguousarray(arrays["vectors"]).data)
    gathered_rows = np.concatenate(rows)
    vectors = np.memmap(path, plan.dtype, "r", shape=(len(gathered_rows), plan.dimensions))

    def take(requested: NDArray[np.int64]) -> NDArray[np.float32]:
        gathered = vectors[np.searchsorted(gathered_rows, requested)]
        return prepare_vectors(gathered, context.options.metric, context.trained.mean)

    return take


def _equal_strings(context: Context, keys: NDArray[np.int64]) -> list[str]:
    """Return the duplicates among the strings with these keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    candidates = []
    for chunk in range(context.plan.chunks):
        ids = context.rows.ids(*context.plan.chunk(chunk))
        candidates.append(ids.filter(pa.array(np.isin(id_keys(ids), keys))).combine_chunks().cast(pa.string()))
    counts = pc.value_counts(pa.chunked_array(candidates))
    return [str(value) for value in counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()]
