"""Arguments of the fused kernels: models and runs, packed once, and a workspace per thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import (
    COUNTERS,
    HEAD,
    LISTED_ROWS,
    MARKS,
    PENDING,
    RADIX,
    RERANK_FLOAT,
    RERANK_HALF,
    RERANK_INT8,
    RERANK_NONE,
    TOGETHER,
    CallField,
    FloatField,
    ModelField,
    RunField,
    RunsField,
    ShardField,
    expanded_bytes,
)
from vsearch.quantizers.protocol import SignPlanes
from vsearch.search.state.arguments import KernelArguments, address
from vsearch.search.state.model import Model, SearchSettings, nearness_unit
from vsearch.search.state.packed_projection import pack_projection, pack_rotation, projection_scratch
from vsearch.search.state.packed_regions import pack_regions, region_scratch
from vsearch.search.state.packed_runs import pack_copied, pack_run
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.shard import ShardArrays

if TYPE_CHECKING:
    from vsearch.search.state.run_table import RunTable

Words = NDArray[np.uint64] | None
"""Bit mask of the rows of a run that pass, uint64 (words,); None if all do."""

RERANK_KINDS = {None: RERANK_NONE, "int8": RERANK_INT8, "float16": RERANK_HALF, "float32": RERANK_FLOAT}


WAVE = int(CallField.WAVE)  # read once, since looking up a member of an enumeration takes long
LARGEST_FLOAT = np.finfo(np.float32).max


def pack_model(model: Model, radii: NDArray[np.float32], rows: int) -> KernelArguments:
    """Pack a model of an index with `rows` rows and partition radii float32 (partitions,)."""
    fields = KernelArguments(len(ModelField))
    values, quantizer = fields.values, model.quantizer
    d, partitions = model.dimensions, len(model.centroids)
    if radii.shape != (partitions,):
        msg = f"{len(radii)} radii for {partitions} partitions"
        raise ValueError(msg)
    stages = quantizer.stage_bytes
    coarse, squares = model.coarse_centroids, model.centroid_squares
    rounding_bounds = coarse.rounding_bounds
    if model.exact_centroid_scores:
        squares, rounding_bounds = np.zeros_like(squares), np.zeros_like(rounding_bounds)
    values[ModelField.DIMENSIONS], values[ModelField.PARTITIONS], values[ModelField.ROWS] = d, partitions, rows
    values[ModelField.GROUPS], values[ModelField.QUANTIZED_DIMENSIONS] = len(coarse.groups), coarse.dimensions
    values[ModelField.CENTROID_GROUP_WIDTH] = coarse.groups.shape[1]
    fields.point(ModelField.CENTROID_GROUPS, coarse.groups, np.uint8)
    values[ModelField.POSITIONS] = len(coarse.steps)
    if model.region_table is not None:
        pack_regions(fields, model, model.region_table, coarse, squares, radii)
        rounding_bounds = model.region_table.by_partition(rounding_bounds, partitions)
    values[ModelField.NORMALIZE] = model.metric == "cosine"
    values[ModelField.SQUARED] = model.metric == "l2"
    values[ModelField.DIFFERENCES] = model.far_apart or (model.metric == "l2" and model.rerank == "float32")
    values[ModelField.WIDE_ROTATION], values[ModelField.EXACT_CENTROID_SCORES] = (
        model.far_apart,
        model.exact_centroid_scores,
    )
    values[ModelField.RERANK_KIND] = RERANK_KINDS[model.rerank]
    values[ModelField.STAGES] = len(stages)
    values[ModelField.FADES_LENGTH] = partitions + 1
    weights = model.rerank_weights if model.rerank == "int8" else np.ones(d, np.float32)
    for field, array in (
        (ModelField.MEAN, model.mean),
        (ModelField.CENTROID_SQUARES, squares),
        (ModelField.CENTROID_STEPS, coarse.steps),
        (ModelField.CENTROID_LOWS, coarse.lows),
        (ModelField.CENTROID_ROUNDING_BOUNDS, rounding_bounds),
        (ModelField.RADII, radii),
        (ModelField.FADES, np.log1p(np.arange(partitions + 1)).astype(np.float32)),
        (ModelField.RERANK_WEIGHTS, weights),
        (ModelField.VARIANCES, model.variances),
        (ModelField.LEAST_DEVIATION, np.array([model.least_deviation], np.float32)),
        (ModelField.STAGE_SCALES, quantizer.calibration.scale),
        (ModelField.STAGE_DEVIATIONS, quantizer.calibration.deviation),
    ):
        fields.point(field, np.ascontiguousarray(array), np.float32)
    if model.half_centroids is not None:
        fields.point(ModelField.HALF_CENTROIDS, np.ascontiguousarray(model.half_centroids).view(np.uint16), np.uint16)
    else:
        fields.point(ModelField.CENTROIDS, np.ascontiguousarray(model.centroids), np.float32)
    values[ModelField.VARIANCES_LENGTH] = len(model.variances)
    pack_rotation(fields, model)
    if model.projected is not None:
        pack_projection(fields, model.dimensions, model.projected)
    if not isinstance(quantizer, SignPlanes):
        values[ModelField.TABLES_GIVEN], values[ModelField.BYTE_TABLES] = 1, quantizer.scan == "bytes"
        return fields
    values[ModelField.PLANES], values[ModelField.CODED] = len(quantizer.plane_dimensions), len(quantizer.table_scale)
    fields.point(ModelField.TABLE_SCALE, quantizer.table_scale, np.float32)
    fields.point(ModelField.PLANE_DIMENSIONS, quantizer.plane_dimensions, np.int32)
    fields.point(ModelField.PLANE_OFFSETS, quantizer.plane_offsets, np.int32)
    return fields


def pack_shard(first_partition: int, rows: int, table: PartitionTable, arrays: ShardArrays) -> KernelArguments:
    """Pack a run whose arrays were checked by `shard.view_arrays`."""
    fields = KernelArguments(len(ShardField))
    values = fields.values
    values[ShardField.FIRST_PARTITION], values[ShardField.PARTITIONS] = first_partition, len(table.rows)
    values[ShardField.ROWS], values[ShardField.BLOCKS] = rows, len(arrays.first_codes)
    values[ShardField.DIMENSIONS] = arrays.rerank_bytes.shape[1]
    values[ShardField.FIRST_WIDTH], values[ShardField.LATER_WIDTH] = (
        arrays.first_codes.shape[1],
        arrays.later_codes.shape[1],
    )
    for field, array, dtype in (
        (ShardField.ROW_STARTS, table.row_starts, np.int64),
        (ShardField.ROW_COUNTS, table.rows, np.int64),
        (ShardField.BLOCK_STARTS, table.block_starts, np.int64),
        (ShardField.FACTOR_SCALES, table.factor_scales, np.float32),
        (ShardField.FIRST_FACTOR_SCALES, table.first_factor_scales, np.float32),
        (ShardField.RERANK_PARTITION_SCALES, table.rerank_scales, np.float32),
        (ShardField.FIRST_CODES, arrays.first_codes, np.uint8),
        (ShardField.LATER_CODES, arrays.later_codes, np.uint8),
        (ShardField.FACTORS, arrays.factors, np.uint16),
        (ShardField.FIRST_FACTORS, arrays.first_factors, np.uint16),
        (ShardField.OFFSETS, arrays.offsets, np.float32),
        (ShardField.RERANK_SCALES, arrays.rerank_scales, np.uint16),
        (ShardField.RERANK_BYTES, arrays.rerank_bytes, np.int8),
        (ShardField.RERANK_HALVES, arrays.rerank_halves, np.uint16),
        (ShardField.RERANK_FLOATS, arrays.rerank_floats, np.float32),
    ):
        fields.point(field, array, dtype)
    return fields


class Workspace:
    """Scratch arrays, outputs and the argument block with which one thread runs queries on a model."""

    def __init__(self, model: Model, partition_rows: NDArray[np.int64], radii: NDArray[np.float32]) -> None:
        d, partitions = model.dimensions, len(model.centroids)
        first, all_bytes = model.quantizer.stage_bytes[0], sum(model.quantizer.stage_bytes)
        self.fields = KernelArguments(len(CallField))
        self.values = self.fields.values
        self.number_view = self.values.data  # the same fields, read and written as Python integers
        self.query = np.empty(d, np.float32)
        self.query_address, self.query_shapes = address(self.query), ((d,), (1, d))
        self.state: object = None  # the state set up by `single.search_single`, until it changes
        self.rotated = np.empty(d, np.float32)
        by_bytes = model.quantizer.scan == "bytes"
        self.tables = np.zeros((all_bytes, 256) if by_bytes else (2 * all_bytes, 16), np.float32)
        self.order, self.rest = np.empty(partitions, np.int32), np.empty(partitions, np.int32)
        self.centroid_scores, self.upper_bounds = np.empty(partitions, np.float32), np.empty(partitions, np.float32)
        self.counters = np.zeros(COUNTERS, np.int64)
        self.numbers = np.zeros(len(FloatField), np.float32)
        self._partition_rows, self._radii, self.effective_radii = partition_rows, radii, radii
        self._unit = nearness_unit(model, radii)
        expanded = np.zeros(expanded_bytes(first), np.uint8)
        codes_length, words_length = -(-d // 4) * 4, d + d % 2
        self._options: tuple[object, ...] | None = None
        self._settings: SearchSettings | None = None
        self._match_counts: NDArray[np.int64] | None = None
        self.runs = KernelArguments(len(RunsField))
        self._table: RunTable | None = None
        self._words: Mapping[int, Words] | Sequence[Words] | None = None
        self._run_blocks: list[KernelArguments] = []
        self._copy_blocks: list[KernelArguments] = []
        self._seen = np.empty(0, np.uint64)
        self._missing, self._unread_rows = np.empty(0, np.int32), np.empty((0, 0), np.int64)
        self._use_heap(0)
        for field, array in (
            (CallField.QUERY, self.query),
            (CallField.ROTATED, self.rotated),
            (CallField.RERANK_QUERY, np.empty(d, np.float32)),
            (CallField.SCALED, np.empty(d, np.float32)),
            (CallField.SUMS, np.empty(32, np.float32)),
            (CallField.BYTE_TABLES if by_bytes else CallField.TABLES, self.tables),
            (CallField.ROUNDED, np.zeros((2 * first, 16), np.uint8)),
            (CallField.EXPANDED, expanded),
            (CallField.ORDER, self.order),
            (CallField.CENTROID_SCORES, self.centroid_scores),
            (CallField.UPPER_BOUNDS, self.upper_bounds),
            (CallField.KEYS, np.empty(partitions, np.uint32)),
            (CallField.SPARE_ORDER, np.empty(partitions, np.int32)),
            (CallField.SPARE_KEYS, np.empty(partitions, np.uint32)),
            (CallField.HISTOGRAM, np.empty(RADIX, np.int32)),
            (CallField.SLOTS, np.empty(2 * HEAD, np.int64)),
            (CallField.MATCH_COUNTS, partition_rows),
            (CallField.PENDING, np.empty((3, PENDING), np.int64)),
            (CallField.PENDING_SCALES, np.empty(PENDING, np.float32)),
            (CallField.REST, self.rest),
            (CallField.QUERY_CODES, np.zeros(codes_length, np.int8)),
            (CallField.QUERY_WORDS, np.zeros(words_length, np.int16)),
            (CallField.GROUP_SUMS, np.empty(TOGETHER, np.int32)),
            (CallField.COUNTERS, self.counters),
            (CallField.FLOATS, self.numbers),
        ):
            self.fields.point(field, array, array.dtype)
        for field, scratch in (*region_scratch(self.values, model), *projection_scratch(self.values, model)):
            self.fields.point(field, scratch, scratch.dtype)
        for field, number in (
            (CallField.EXPANDED_BYTES, len(expanded)),
            (CallField.DIMENSIONS, d),
            (CallField.PARTITIONS, partitions),
            (CallField.NIBBLES, 2 * all_bytes),
            (CallField.FIRST_NIBBLES, 2 * first),
            (CallField.BYTES, all_bytes),
            (CallField.CODES_LENGTH, codes_length),
            (CallField.WORDS_LENGTH, words_length),
        ):
            self.values[field] = number

    def begin(
        self,
        *,
        k: int,
        nprobe: int | None,
        exact: bool,
        settings: SearchSettings,
        match_counts: NDArray[np.int64] | None,
        effective_radii: NDArray[np.float32] | None,
        filtered: bool,
    ) -> None:
        """Set the arguments that are the same for all shards.

        `match_counts` int64 and `effective_radii` float32 (partitions,) belong to a mask (`masks.IndexMask`), and `filtered` is
        whether routing treats it as a filter; None without one.
        """
        options = (k, nprobe, exact, filtered)
        if options == self._options and settings is self._settings and match_counts is self._match_counts:
            return
        self._options, self._settings, self._match_counts, self.state = options, settings, match_counts, None
        if k != self._k:
            self._use_heap(k)
        values = self.values
        values[CallField.NPROBE] = nprobe or 0
        values[CallField.NEAR_REGIONS] = settings.near_regions or 0
        values[CallField.EXACT] = exact
        values[CallField.FILTERED] = filtered
        self.fields.point(
            CallField.MATCH_COUNTS, self._partition_rows if match_counts is None else match_counts, np.int64
        )
        self.effective_radii = self._radii if effective_radii is None else effective_radii
        self.fields.point(CallField.EFFECTIVE_RADII, self.effective_radii, np.float32)
        self.numbers[FloatField.RADIUS_FACTOR], self.numbers[FloatField.RADIUS_DECAY] = (
            settings.radius_factor,
            settings.radius_decay,
        )
        self.numbers[FloatField.ERROR_SIGMAS], self.numbers[FloatField.TAIL] = settings.error_sigmas, settings.tail
        familiar = settings.familiar
        self.numbers[FloatField.FAMILIAR] = LARGEST_FLOAT if familiar is None else familiar * self._unit

    def _use_heap(self, k: int) -> None:
        """Make room for k hits; `score_row` and `id_row` are views of theirs (1, k)."""
        self._k, self.scores, self.rows = k, np.empty(k, np.float32), np.empty(k, np.int64)
        self.score_row, self.id_row = self.scores[None], self.rows[None]
        self.fields.point(CallField.SCORES, self.scores, np.float32)
        self.fields.point(CallField.ROWS, self.rows, np.int64)
        self.values[CallField.K] = k

    def use_query(self, query: NDArray[np.float32], *, prepared: bool) -> None:
        """Set a checked query, either as passed by the caller or already normalized, centered and rotated."""
        self.await_query(prepared=prepared)
        if prepared:
            self.rotated[:] = query
        else:
            self.query[:] = query

    def await_query(self, *, prepared: bool) -> None:
        """Set the kind of the query that `use_query` or a kernel will set, for kernels that read only what is read and verified."""
        self.values[CallField.UNCHECKED] = self.values[CallField.UNREAD] = 0
        self.values[CallField.QUERY] = 0 if prepared else self.query_address

    def list_unread(self, wave: int, optimism: float) -> None:
        """Prepare the lists of a search of runs that are not completely read; see `vsearch.search.engine.rounds`."""
        self.number_view[WAVE], self.numbers[FloatField.OPTIMISM] = wave, optimism
        room = max(LISTED_ROWS, 4 * self._k)  # a full list takes another round, and a search from the beginning
        if self._unread_rows.shape[1] < room:
            self._missing, self._unread_rows = np.empty(2 * len(self.order), np.int32), np.empty((2, room), np.int64)
            for field, array in ((CallField.MISSING, self._missing), (CallField.UNREAD_ROWS, self._unread_rows)):
                self.fields.point(field, array, array.dtype)
            self.values[CallField.MISSING_LENGTH] = len(self._missing)
            self.values[CallField.UNREAD_ROWS_LENGTH] = room

    def listed(self) -> tuple[NDArray[np.int32], dict[int, NDArray[np.int64]]]:
        """Return the partitions that the last search lists, some of them several times, and the rows to rerank by the position of their run in the table."""
        values = self.values
        missing = self._missing[: min(values[CallField.MISSING_COUNT], len(self._missing))].copy()
        blocks, rows = self._unread_rows[:, : values[CallField.UNREAD_ROW_COUNT]]
        by_position = {position: rows[blocks == block.address] for position, block in enumerate(self._run_blocks)}
        return missing, {position: of_run for position, of_run in by_position.items() if len(of_run)}

    def await_rows(self, table: RunTable) -> None:
        """Prepare for scoring given rows, for which heap and masks have no effect."""
        if table is not self._table:
            self.use_runs(table, None)
        if self._k == 0:
            self._use_heap(PENDING)

    def empty(self) -> None:
        """Reset the heap and the counters for another shard, as kernels that run a whole query do."""
        values = self.values
        values[CallField.SIZE] = values[CallField.WAITING] = values[CallField.MISSING_COUNT] = 0
        self.counters[:] = 0
        self._seen[:] = 0
        self.values[CallField.MARKED] = 0

    def use_runs(self, table: RunTable, words: Mapping[int, Words] | Sequence[Words] | None) -> None:
        """Set the runs to search and their masks, by the number of the run, or None; almost free if they are unchanged."""
        if table is not self._table:
            self._table, self._words, self.state = table, None, None
            self._list_runs(table)
        if words is not self._words:
            self._words, self.state = words, None
            for block, run in zip(self._run_blocks, table.runs, strict=True):
                mask = None if words is None else words[run.number]
                if mask is None:
                    block.values[RunField.MASK_WORDS] = 0
                else:
                    block.point(RunField.MASK, mask, np.uint64)
                    block.values[RunField.MASK_WORDS] = len(mask)

    def _list_runs(self, table: RunTable) -> None:
        """Pack the runs of a table, each followed by its copies, and make room for the rows that a query has seen."""
        self._run_blocks, self._copy_blocks, addresses = [], [], []
        for run, first_row, end, reaches in zip(table.runs, table.first_rows, table.ends, table.reaches, strict=True):
            block = pack_run(run, first_row, end, reaches)
            self._run_blocks.append(block)
            addresses.append(block.address)
            if run.copies is not None:
                copies = pack_copied(run.copies, block, first_row, end)
                self._copy_blocks.append(copies)
                addresses.append(copies.address)
        self.runs.point(RunsField.RUNS, np.array(addresses, np.int64), np.int64)
        self.runs.point(RunsField.OWNERS, table.owners, np.int32)
        self.runs.values[RunsField.COUNT] = len(addresses)
        self.runs.values[RunsField.FIRST_PARTITION] = table.first_partition
        self.runs.values[RunsField.PARTITIONS] = len(table.owners)
        self._seen = np.zeros(-(-table.rows // 64), np.uint64)
        self.fields.point(CallField.SEEN, self._seen, np.uint64)
        self.fields.point(CallField.MARKS, np.empty(MARKS if len(self._seen) else 0, np.int64), np.int64)
        self.values[CallField.SEEN_WORDS], self.values[CallField.MARKED] = len(self._seen), 0
