"""The fields of the fused kernels: which int64 of a block is which number or address.

Three blocks: one for an index (`ModelField`), one for each shard (`ShardField`), both made once, and one for each call
(`CallField`). Each has all that its arrays' shapes take, so that none is needed to read another. Addresses are of
C-contiguous arrays, or 0 for an array that is not there; `vsearch.search.state.workspace` checks every shape before it packs
one. What lies at them is said in `views`.
"""

from __future__ import annotations

from enum import IntEnum, unique

# Places of the counters that a search adds to.
VISITED, SCANNED, REFINED, RERANKED, COUNTERS = 0, 1, 2, 3, 4

# Kinds of rerank codes.
RERANK_NONE, RERANK_INT8, RERANK_HALF, RERANK_FLOAT = 0, 1, 2, 3

NEAREST = 24  # partitions visited best first; those that are left then share a pass with other queries of a batch
PENDING = 64  # candidates whose rerank codes are on their way while the scan goes on
RADIX = 2048  # partitions are ordered by 11 bits a pass, three passes
TOGETHER = 64  # rows of a group, whose small integers are read together: centroids, rows of a rotation
LARGEST_WORD = 32767  # norm of what is kept in 16-bit words: a product of two fits in 32 bits
FAMILIAR_TAIL = 2.3  # standard deviations, which cost next to nothing anywhere; of queries that lie among the rows
PLAIN_TAIL = 5.0  # most of them without a filter: only one that excludes what is near needs more
HEAD = 256  # partitions that are ordered before any is visited; the others only if these do not do


def expanded_bytes(pairs: int) -> int:
    """Bytes of the rounded tables of an even number of pairs of nibbles, laid out for any register (`nibbles.expand_tables`)."""
    return 64 * pairs


@unique
class ModelField(IntEnum):
    """What all shards share. d: dimensions, p: partitions of the index, D: coded dimensions."""

    DIMENSIONS = 0
    PARTITIONS = 1
    NORMALISE = 2  # 1: the metric is cosine
    SQUARED = 3  # 1: the metric is l2
    MEAN = 4  # float32 (d,)
    ROTATION = 5  # float32 (d, d), or 0
    CENTROIDS = 6  # float32 (p, d), rotated, or 0
    CENTROID_SQUARES = 7  # float32 (p,)
    RADII = 8  # float32 (p,)
    RERANK_WEIGHTS = 9  # float32 (d,)
    RERANK_KIND = 10
    STAGES = 11
    CENTROID_GROUP_WIDTH = 12  # 64 * D
    FADES_LENGTH = 13  # p + 1
    PLANES = 14
    CODED = 15  # D
    TABLE_SCALE = 16  # float32 (D,)
    PLANE_DIMENSIONS = 17  # int32 (planes,)
    PLANE_OFFSETS = 18  # int32 (planes,)
    STAGE_SCALES = 19  # float32 (stages,)
    STAGE_DEVIATIONS = 20  # float32 (stages,)
    TABLES_GIVEN = 21  # 1: the caller fills the tables
    BYTE_TABLES = 22  # 1: they are tables of bytes, which are not rounded
    CENTROID_GROUPS = 23  # uint8 (g, CENTROID_GROUP_WIDTH)
    CENTROID_STEPS = 24  # float32 (p,)
    CENTROID_LOWS = 25  # float32 (p,)
    GROUPS = 26  # g
    QUANTISED_DIMENSIONS = 27  # D, of the groups' bytes; leading ones
    FADES = 28  # float32 (FADES_LENGTH,)
    ROWS = 29  # of the index
    ROTATION_GROUPS = 30  # int16 (ROTATION_BLOCKS, ROTATION_WIDTH) where ROTATION is 0
    CENTROID_SLACKS = 31  # float32 (p,)
    ROTATION_STEPS = 32  # float32 (d,) of the groups
    HALF_CENTROIDS = 33  # float16 (p, d) where CENTROIDS is 0
    VARIANCES = 34  # float32 (d,): each dimension's share of the residuals' variance
    LEAST_DEVIATION = 35  # float32 (1,): of a query, see `route.relative_deviation`
    DIFFERENCES = 36  # 1: reranked squared distances are made of differences
    ROTATION_BLOCKS = 37  # d / 64, rounded up
    ROTATION_WIDTH = 38  # 64 * D'; D' is d or one more
    WIDE_ROTATION = 39  # 1: queries are rotated in float64
    EXACT_BASES = 40  # 1: all base scores are made of differences, and CENTROID_SQUARES and CENTROID_SLACKS are 0


@unique
class ShardField(IntEnum):
    """One shard. n: rows, b: blocks, p: its partitions, d: dimensions."""

    FIRST_PARTITION = 0
    PARTITIONS = 1
    ROWS = 2
    BLOCKS = 3
    ROW_STARTS = 4  # int64 (p,)
    ROW_COUNTS = 5  # int64 (p,)
    BLOCK_STARTS = 6  # int64 (p,)
    FACTOR_SCALES = 7  # float32 (p,)
    FIRST_FACTOR_SCALES = 8  # float32 (p,)
    RERANK_PARTITION_SCALES = 9  # float32 (p,)
    FIRST_CODES = 10  # uint8 (b, FIRST_WIDTH)
    LATER_CODES = 11  # uint8 (b, LATER_WIDTH), or 0 with one stage
    FACTORS = 12  # float16 (n,)
    FIRST_FACTORS = 13  # float16 (n,) with two stages, or 0
    OFFSETS = 14  # float32 (n,) under l2, or 0
    RERANK_SCALES = 15  # float16 (n,)
    RERANK_BYTES = 16  # int8 (n, d); of these three one at most is not 0
    RERANK_HALVES = 17  # float16 (n, d)
    RERANK_FLOATS = 18  # float32 (n, d)
    DIMENSIONS = 19
    FIRST_WIDTH = 20  # bytes of a block's first codes
    LATER_WIDTH = 21


@unique
class RunField(IntEnum):
    """One run of a search of several (`query.search_runs`)."""

    SHARD = 0  # address of its block
    MASK = 1  # uint64 (MASK_WORDS,), or 0
    MASK_WORDS = 2
    FIRST_ROW = 3  # what its rows are numbered from
    FIRST_VISIT = 4  # scratch: where the search goes on


@unique
class CallField(IntEnum):
    """One query on one workspace. d: dimensions, p: partitions of the index."""

    QUERY = 0  # float32 (d,), as given
    ROTATED = 1  # float32 (d,), out of `plan_query`
    RERANK_QUERY = 2  # float32 (d,), out of `plan_query`
    TABLES = 3  # float32 (NIBBLES, 16), or 0
    ROUNDED = 4  # uint8 (FIRST_NIBBLES, 16)
    EXPANDED = 5  # uint8 (EXPANDED_BYTES,)
    EXPANDED_BYTES = 6
    ORDER = 7  # int32 (p,)
    BASES = 8  # float32 (p,), by partition
    BOUNDS = 9  # float32 (p,), by partition
    KEYS = 10  # uint32 (p,)
    SPARE_ORDER = 11  # int32 (p,)
    SPARE_KEYS = 12  # uint32 (p,)
    HISTOGRAM = 13  # int32 (RADIX,)
    ELIGIBLE = 14  # int64 (p,)
    VISITS = 15  # out of `plan_query`: entries of ORDER
    FORCED = 16  # out of `plan_query`
    FIRST_VISIT = 17
    LAST_VISIT = 18
    K = 19
    NPROBE = 20  # 0: leave it to the bounds
    EXACT = 21
    FILTERED = 22
    MASK = 23  # uint64 (words,)
    MASK_WORDS = 24  # 0: no mask
    SCORES = 25  # float32 (k,)
    ROWS = 26  # int64 (k,)
    SIZE = 27  # entries of the heap
    COUNTERS = 28  # int64 (COUNTERS,)
    FLOATS = 29  # float32 (FloatField,)
    PENDING = 30  # int64 (2, PENDING)
    SCALED = 31  # float32 (d,), scratch
    SPREADS = 32  # float32 (p,)
    SUMS = 33  # float32 (32,), scratch
    SETTLED = 34  # 1: the nearest partitions are done, and k rows are found or nothing is left
    NEAR = 35  # partitions of the shard visited so far in descending order of their bounds
    REST = 36  # int32 (p,): partitions left after the nearest, ascending
    REST_COUNT = 37
    QUERY_CODES = 38  # int8 (CODES_LENGTH,), scratch
    GROUP_SUMS = 39  # int32 (64,), scratch
    ORDERED = 40  # out of `plan_query`: entries of ORDER that are in place
    COMPLETE = 41  # out of `plan_query`: 1 if these are all
    WAITING = 42  # rows in PENDING
    PENDING_SCALES = 43  # float32 (PENDING,)
    SLOTS = 44  # int64 (2 * HEAD,), scratch
    QUERY_WORDS = 45  # int16 (WORDS_LENGTH,), scratch
    BYTE_TABLES = 46  # float32 (BYTES, 256), or 0; then these stand in for TABLES
    DIMENSIONS = 47
    PARTITIONS = 48
    NIBBLES = 49  # of a code
    FIRST_NIBBLES = 50  # of its first stage
    BYTES = 51  # of a code
    CODES_LENGTH = 52  # d, rounded up to a multiple of 4
    WORDS_LENGTH = 53  # d, rounded up to a multiple of 2


@unique
class FloatField(IntEnum):
    """The numbers of a call that are no integers."""

    REACH = 0
    MARGIN = 1
    STEP = 2  # out of `plan_query`
    BIAS = 3  # out of `plan_query`
    FIRST_MARGIN = 4  # out of `plan_query`
    LAST_MARGIN = 5  # out of `plan_query`
    DECAY = 6
    SQUARE = 7  # out of `plan_query`: of the rotated query's norm
    TAIL = 8
    FAMILIAR = 9
    DEVIATION = 10  # out of `plan_query`: see `route.relative_deviation`
    TAIL_REACH = 11  # out of `plan_query`: the tail in radii, as REACH is


#: How long blocks are.
RUN_FIELDS, CALL_FIELDS = len(RunField), len(CallField)
