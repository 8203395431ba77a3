"""The tasks of a job: one function for each stage, called with the number of the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vsearch.cluster.append_steps import check_chunk, encode_chunk
from vsearch.cluster.context import Context, Place, open_context
from vsearch.cluster.dividing_steps import (
    assign_chunk,
    compare_ids,
    deal_partitions,
    gather_oversize,
    split_partitions,
)
from vsearch.cluster.document_steps import (
    draw_documents,
    embed_documents,
    number_vectors,
    plan_documents,
    plan_encodings,
    reduce_range,
    train_documents,
)
from vsearch.cluster.merge_steps import choose_settings, split_pieces, write_merged
from vsearch.cluster.shard_steps import exchange_chunk, tune_index, weigh, write_rows
from vsearch.cluster.text_steps import attach_encoder, embed_rows, number_rows, plan_texts
from vsearch.cluster.training_steps import draw_sample, make_plan, read_headers, train_model
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.errors import VsearchError

Task = Callable[[int], "VsearchError | None"]
"""A task of a stage, called with its number; returns errors that a retry cannot fix."""

CHANGES: dict[str, Callable[[Context, int], None]] = {
    "encode": encode_chunk,
    "check": check_chunk,
    "pieces": split_pieces,
    "merge": write_merged,
    "settings": choose_settings,
}
"""Further stages, of changes."""

TEXTS: dict[str, Callable[[Context, int], None]] = {
    "texts": plan_texts,
    "embed": embed_rows,
    "plan": number_rows,
    "attach": attach_encoder,
}
"""Stages of builds from texts, in order, between ``files`` and ``sample``."""

DOCUMENTS: dict[str, Callable[[Context, int], None]] = {
    "documents": plan_documents,
    "reduce": reduce_range,
    "number": number_vectors,
    "draw": draw_documents,
    "codec": train_documents,
    "embed": embed_documents,
    "plan": plan_encodings,
}
"""Stages of builds of multi-vector documents, in order, between ``files`` and ``sample``."""

STEPS: dict[str, Callable[[Context, int], None]] = {
    "files": read_headers,
    "plan": make_plan,
    "sample": draw_sample,
    "train": train_model,
    "assign": assign_chunk,
    "ids": compare_ids,
    "split": split_partitions,
    "gather": gather_oversize,
    "deal": deal_partitions,
    "exchange": exchange_chunk,
    "weights": weigh,
    "shard": write_rows,
    "tune": tune_index,
}
"""The stages in order; ``split`` and ``gather`` take turns until no partition is too large."""


def run_task(place: Place, stage: str, number: int) -> VsearchError | None:
    """Run a task, unless it is already done.

    Returns
    -------
    InputError or None
        The input is invalid, so a retry is pointless. Any other error is raised.
    """
    try:
        context = open_context(place)
        if not context.outputs.has(stage, number):
            job = context.job
            more = DOCUMENTS if job.documents is not None else CHANGES if job.texts is None else TEXTS
            (STEPS | more)[stage](context, number)
    except InputError as error:
        return error
    return None
