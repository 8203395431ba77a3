"""Tasks of an optimization: split partitions that are too large, merge the runs and deltas of a shard, and tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vsearch.cluster.context import Context
from vsearch.cluster.job import Merged, Pieces, Tuned
from vsearch.live.merging import Moved
from vsearch.live.retuning import find_settings
from vsearch.live.shard_merging import Output, merge_shard, plan_merges
from vsearch.live.splitting import Split, SplitOutput, plan_split, write_split
from vsearch.storage import SegmentFile

if TYPE_CHECKING:
    from vsearch.cluster.outputs import Outputs
    from vsearch.live.plan import ShardPlan
    from vsearch.search.state.snapshot import Snapshot

FORCE = "force"
"""Entry in the subject of a job: merge everything that can be merged."""


def plans_of(context: Context) -> list[ShardPlan]:
    """The merges of an optimization, as planned from its snapshot."""
    return plan_merges(context.base(0)[1], force=FORCE in context.job.subject)


def split_pieces(context: Context, number: int) -> None:
    """Split the partitions that are too large, in shards whose base is rewritten."""
    outputs, snapshot = context.outputs, context.base(0)[1]
    split = plan_split(snapshot, [shard for shard, plan in enumerate(plans_of(context)) if plan.base])
    if split is None:
        outputs.finish("pieces", number, Pieces(), ())
        return
    model = write_split(outputs.store, f"model/{outputs.writer}-splits.arrow", split).entry
    places = outputs.write("pieces", number, "places", {"places": split.places})
    rows = outputs.write("pieces", number, "rows", {"positions": split.positions, "partitions": split.partitions})
    pieces = Pieces(model, places, rows, tuple(split.added), split.count)
    outputs.finish("pieces", number, pieces, [model.path, places.entry.path, rows.entry.path])


def write_merged(context: Context, number: int) -> None:
    """Write the new run of a shard."""
    outputs, snapshot = context.outputs, context.base(0)[1]
    split = split_of(outputs, snapshot)
    path = f"segments/{outputs.writer}-{number:05d}-run.arrow"
    plan = plans_of(context)[number]
    output, rows = merge_shard(snapshot, plan, number, None if split is None else split.split, path)
    if output is None:
        outputs.finish("merge", number, Merged(None, None, 0), ())
        return
    moved, file = output.moved, None
    if len(moved.rows):
        arrays: dict[str, Any] = {"segments": moved.segments, "rows": moved.rows, "new_rows": moved.new_rows}
        file = outputs.write("merge", number, "moved", arrays)
    outputs.finish("merge", number, Merged(output.entry, file, rows), [path, *([file.entry.path] if file else [])])


def choose_settings(context: Context, number: int) -> None:
    """Find the search settings of the snapshot that an optimization left."""
    settings = find_settings(context.base(1)[1])
    context.outputs.finish("settings", number, Tuned(settings.to_entry()), ())


def split_of(outputs: Outputs, snapshot: Snapshot) -> SplitOutput | None:
    """Read the split of an optimization; None if nothing is split."""
    pieces = outputs.read(Pieces, "pieces")
    if pieces.model is None or pieces.places is None or pieces.rows is None:
        return None
    file = SegmentFile(outputs.store, pieces.model, None, snapshot.manifest.snapshot)
    file.ensure_all()
    model = snapshot.model.with_centroids(
        file.array("centroids").astype("float32"),
        file.array("numbers").copy(),
        file.array("regions").copy() if "regions" in file.arrays else None,
    )
    rows = outputs.arrays(pieces.rows)
    split = Split(
        before=snapshot.model,
        model=model,
        places=outputs.arrays(pieces.places)["places"],
        added=list(pieces.added),
        positions=rows["positions"],
        partitions=rows["partitions"],
        count=pieces.count,
    )
    return SplitOutput(split, pieces.model)


def output_of(outputs: Outputs, merged: Merged, empty: Moved) -> Output | None:
    """Read the new run of a shard."""
    if merged.run is None:
        return None
    if merged.moved is None:
        return Output(merged.run, empty)
    arrays = outputs.arrays(merged.moved)
    return Output(merged.run, Moved(arrays["segments"], arrays["rows"], arrays["new_rows"]))
