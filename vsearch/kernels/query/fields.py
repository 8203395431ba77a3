"""The argument blocks of the fused kernels: positions of numbers and array addresses in blocks of int64.

There is one block per index (`ModelField`) and one per run (`ShardField`), both packed once; one per call (`CallField`);
and the list of the runs that calls search (`RunsField`), each with its mask (`RunField`). A block contains all extents of
its own arrays, so it can be read without the others. An address refers to a C-contiguous array; 0 means that there is none.
`vsearch.search.state.workspace` checks every shape before it packs an
address; `views` declares the dtypes and shapes.
"""

from __future__ import annotations

from enum import IntEnum, unique

# Positions of the counters that a search increments.
VISITED, SCANNED, REFINED, RERANKED, COUNTERS = 0, 1, 2, 3, 4

# Kinds of rerank codes.
RERANK_NONE, RERANK_INT8, RERANK_HALF, RERANK_FLOAT = 0, 1, 2, 3

NEAREST = 24  # partitions visited best first; the remaining ones share a pass with other queries of a batch
PENDING = 64  # candidates whose rerank codes are being prefetched while the scan continues
RADIX = 2048  # partitions are sorted in three passes of 11 bits
TOGETHER = 64  # rows of a group, whose small integers are stored together: centroids, rows of a rotation
SEVERAL = 4  # queries of a batch that are planned at once: as many sums of groups as there are registers
LARGEST_WORD = 32767  # norm of vectors in 16-bit words: an inner product of two fits in 32 bits
FAMILIAR_TAIL = 2.3  # tail, in standard deviations, of queries that lie among the rows; costs almost nothing
PLAIN_TAIL = 5.0  # largest tail without a filter: only filters that exclude nearby rows need more
MARKS = 4096  # rows whose places in SEEN are listed; after more, all of it is cleared
PRESENT = 2  # flag of a chunk of a file that is read and verified, as in `vsearch.storage.files.file_bytes`
LISTED_ROWS = 4096  # rows that a search of an index which is not completely read lists at once
HEAD = 256  # partitions that are ordered before the first visit; the others only if these do not suffice


def expanded_bytes(pairs: int) -> int:
    """Return the bytes of the rounded tables of an even number of nibble pairs, laid out for any register width.

    See `nibbles.expand_tables`.
    """
    return 64 * pairs


@unique
class ModelField(IntEnum):
    """Data shared by all shards. d: dimensions, p: partitions of the index, D: coded dimensions."""

    DIMENSIONS = 0
    PARTITIONS = 1
    NORMALIZE = 2  # 1: the metric is cosine
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
    BYTE_TABLES = 22  # 1: the tables are for byte codes, and not rounded
    CENTROID_GROUPS = 23  # uint8 (g, CENTROID_GROUP_WIDTH)
    CENTROID_STEPS = 24  # float32 (POSITIONS,)
    CENTROID_LOWS = 25  # float32 (POSITIONS,)
    GROUPS = 26  # g
    QUANTIZED_DIMENSIONS = 27  # D: number of leading dimensions in the centroid groups
    FADES = 28  # float32 (FADES_LENGTH,)
    ROWS = 29  # of the index
    ROTATION_GROUPS = 30  # int16 (ROTATION_BLOCKS, ROTATION_WIDTH) if ROTATION is 0
    CENTROID_ROUNDING_BOUNDS = 31  # float32 (p,)
    ROTATION_STEPS = 32  # float32 (d,), steps of the rotation groups
    HALF_CENTROIDS = 33  # float16 (p, d) if CENTROIDS is 0
    VARIANCES = 34  # float32 (VARIANCES_LENGTH,): each coordinate's share of the residuals' variance
    LEAST_DEVIATION = 35  # float32 (1,): of a query, see `route.relative_deviation`
    DIFFERENCES = 36  # 1: reranked squared distances are computed from differences
    ROTATION_BLOCKS = 37  # d / 64, rounded up
    ROTATION_WIDTH = 38  # 64 * D', where D' is d rounded up to an even number
    WIDE_ROTATION = 39  # 1: queries are rotated in float64
    EXACT_CENTROID_SCORES = (
        40  # 1: all base scores are computed from differences; CENTROID_SQUARES and CENTROID_ROUNDING_BOUNDS are 0
    )
    REGIONS = 41  # r; 0: partitions are not divided into regions, see `regions`
    POSITIONS = 42  # length of the coarse centroids: p, or with regions 64 * g
    MEMBERS = 43  # int32 (POSITIONS,) with regions: the partition at each position, or -1
    POSITION_SQUARES = 44  # float32 (POSITIONS,) with regions: CENTROID_SQUARES of the members
    POSITION_ROUNDING_BOUNDS = 45  # float32 (POSITIONS,)
    POSITION_RADII = 46  # float32 (POSITIONS,)
    REGION_STARTS = 47  # int64 (r,): first position of each region, a multiple of 64
    REGION_SIZES = 48  # int64 (r,): number of partitions
    REGION_GROUPS = 49  # uint8 (REGION_BLOCKS, CENTROID_GROUP_WIDTH): coarse centroids of the regions
    REGION_BLOCKS = 50
    REGION_STEPS = 51  # float32 (r,)
    REGION_LOWS = 52  # float32 (r,)
    REGION_SQUARES = 53  # float32 (r,)
    REGION_ROUNDING_BOUNDS = 54  # float32 (r,)
    REGION_SPREADS = 55  # float32 (r,): root mean square distance of the centroids to that of their region
    SIGNS = 56  # int8 (SIGN_ROUNDS, d): see `hadamard`, instead of ROTATION or ROTATION_GROUPS
    SIGN_ROUNDS = 57
    PROJECTED = 58  # q: number of coordinates that planning uses, see `projection`; 0: it uses the rotated query
    ROUTED = 59  # number of the first coordinates, which score centroids
    PROJECTION_GROUPS = (
        60  # uint8 (PROJECTION_BLOCKS, PROJECTION_WIDTH): rows of the projection, laid out like centroids
    )
    PROJECTION_BLOCKS = 61  # q / 64, rounded up
    PROJECTION_WIDTH = 62  # 64 * CODES_LENGTH
    PROJECTION_STEPS = 63  # float32 (q,)
    PROJECTION_LOWS = 64  # float32 (q,)
    VARIANCES_LENGTH = 65  # d, or with a projection q - ROUTED + 1


@unique
class ShardField(IntEnum):
    """One run of a shard. n: rows, b: blocks, p: its partitions, d: dimensions."""

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
    LATER_CODES = 11  # uint8 (b, LATER_WIDTH) with two stages, or 0
    FACTORS = 12  # float16 (n,)
    FIRST_FACTORS = 13  # float16 (n,) with two stages, or 0
    OFFSETS = 14  # float32 (n,) under l2, or 0
    RERANK_SCALES = 15  # float16 (n,)
    RERANK_BYTES = 16  # int8 (n, d); at most one of these three is not 0
    RERANK_HALVES = 17  # float16 (n, d)
    RERANK_FLOATS = 18  # float32 (n, d)
    DIMENSIONS = 19
    FIRST_WIDTH = 20  # bytes of a block's first codes
    LATER_WIDTH = 21
    POSITIONS = 22  # uint32 (n,) of copies: the row of the run that each is a copy of, or 0


@unique
class RunsField(IntEnum):
    """The runs that a query searches. p: the partitions that they have."""

    COUNT = 0
    RUNS = 1  # int64 (COUNT,): addresses of their blocks, ordered by partitions
    OWNERS = 2  # int32 (p,): position of the first run that has a partition
    FIRST_PARTITION = 3
    PARTITIONS = 4


@unique
class RunField(IntEnum):
    """One of these runs."""

    SHARD = 0  # address of its shard block
    MASK = 1  # uint64 (MASK_WORDS,), or 0
    MASK_WORDS = 2  # 0: no mask
    FIRST_ROW = 3  # number of its first row in results
    END = 4  # position after the last run that has the same partitions
    OWNER = 5  # of copies: address of the block of the run that they are copies of; otherwise 0
    REACHES = 6  # float32 (REACH_COUNT,), by partition: how far its rows reach, relative to those of all runs; or 0
    REACH_COUNT = 7  # number of its partitions; 0: its rows reach as far as those of all runs
    READ = 8  # uint8 (READ_COUNT,), by partition: 1 if what a scan needs is read and verified
    READ_COUNT = 9  # number of its partitions
    COMPLETE = 10  # uint8 (READ_COUNT,), by partition: 1 if all rerank codes are read, too
    ROW_ARRAYS = 11  # int64 (ROW_ARRAY_COUNT, 5): address and number of a file's flags of chunks, first byte of an array in it, bytes of a row, bits of a chunk's size
    ROW_ARRAY_COUNT = 12  # number of arrays that reranking reads by row; 0: their partitions are read completely


@unique
class CallField(IntEnum):
    """One query on one workspace. d: dimensions, p: partitions of the index."""

    QUERY = 0  # float32 (d,), as passed by the caller
    ROTATED = 1  # float32 (d,), from `plan_query`
    RERANK_QUERY = 2  # float32 (d,), from `plan_query`
    TABLES = 3  # float32 (NIBBLES, 16), or 0
    ROUNDED = 4  # uint8 (FIRST_NIBBLES, 16)
    EXPANDED = 5  # uint8 (EXPANDED_BYTES,)
    EXPANDED_BYTES = 6
    ORDER = 7  # int32 (p,)
    CENTROID_SCORES = 8  # float32 (p,), by partition
    UPPER_BOUNDS = 9  # float32 (p,), by partition
    KEYS = 10  # uint32 (p,)
    SPARE_ORDER = 11  # int32 (p,)
    SPARE_KEYS = 12  # uint32 (p,)
    HISTOGRAM = 13  # int32 (RADIX,)
    MATCH_COUNTS = 14  # int64 (p,)
    VISITS = 15  # from `plan_query`: number of entries of ORDER
    MIN_PROBES = 16  # from `plan_query`
    FIRST_VISIT = 17
    LAST_VISIT = 18
    K = 19
    NPROBE = 20  # 0: determined by the bounds
    EXACT = 21
    FILTERED = 22
    SCORES = 23  # float32 (k,)
    ROWS = 24  # int64 (k,)
    SIZE = 25  # number of entries of the heap
    COUNTERS = 26  # int64 (COUNTERS,)
    FLOATS = 27  # float32 (FloatField,)
    PENDING = 28  # int64 (3, PENDING): row, partition, address of the run
    SCALED = 29  # float32 (d,), scratch
    EFFECTIVE_RADII = 30  # float32 (p,)
    SUMS = 31  # float32 (32,), scratch
    SETTLED = 32  # 1: the nearest partitions are done, and k rows are found or no partition is left
    REST = 33  # int32 (p,): partitions that remain after the nearest, ascending
    REST_COUNT = 34
    QUERY_CODES = 35  # int8 (CODES_LENGTH,), scratch
    GROUP_SUMS = 36  # int32 (64,), scratch
    ORDERED = 37  # from `plan_query`: number of entries of ORDER that are in place
    COMPLETE = 38  # from `plan_query`: 1 if these are all
    WAITING = 39  # number of rows in PENDING
    PENDING_SCALES = 40  # float32 (PENDING,)
    SLOTS = 41  # int64 (2 * HEAD,), scratch
    QUERY_WORDS = 42  # int16 (WORDS_LENGTH,), scratch
    BYTE_TABLES = 43  # float32 (BYTES, 256), used instead of TABLES, or 0
    DIMENSIONS = 44
    PARTITIONS = 45
    NIBBLES = 46  # of a code
    FIRST_NIBBLES = 47  # of its first stage
    BYTES = 48  # of a code
    CODES_LENGTH = 49  # d, rounded up to a multiple of 4
    WORDS_LENGTH = 50  # d, rounded up to a multiple of 2
    UNCHECKED = 51  # 1: QUERY may hold any numbers; `search_runs` sets 0, or returns at once if a number is not usable
    SEEN = (
        52  # uint64 (SEEN_WORDS,): rows that were pending once, by their numbers in results; only if there are copies
    )
    SEEN_WORDS = 53
    MARKED = 54  # number of rows set in SEEN
    MARKS = 55  # int64 (MARKS,): the words of SEEN in which they were set
    NEAR_REGIONS = 56  # number of regions whose partitions are scored; 0: all partitions are
    CANDIDATE_COUNT = 57  # from `plan_query`: number of partitions scored by regions; 0: all were scored
    CHOSEN = 58  # int32 (CHOSEN_LENGTH,): these regions
    CHOSEN_LENGTH = 59
    CANDIDATES = 60  # int32 (CANDIDATES_LENGTH,): the partitions that were scored, region by region
    CANDIDATES_LENGTH = 61  # p with regions, otherwise 0
    CANDIDATE_SCORES = 62  # float32 (CANDIDATES_LENGTH,)
    CANDIDATE_BOUNDS = 63  # float32 (CANDIDATES_LENGTH,)
    CANDIDATE_RADII = 64  # float32 (CANDIDATES_LENGTH,): effective radii
    CANDIDATE_MATCHES = 65  # int64 (CANDIDATES_LENGTH,)
    UNREAD = 66  # 1: not everything is read; `search_runs` sets 2 if it needs what is not, see `unread`
    MISSING = 67  # int32 (MISSING_LENGTH,): the partitions that it needs, some of them several times
    MISSING_LENGTH = 68
    MISSING_COUNT = 69
    WAVE = 70  # number of partitions that are read together
    UNREAD_ROWS = 71  # int64 (2, UNREAD_ROWS_LENGTH): the address of the block of the run, and the number in it, of each row that it needs
    UNREAD_ROWS_LENGTH = 72
    UNREAD_ROW_COUNT = 73
    COORDINATES = 74  # float32 (COORDINATES_LENGTH,), from `plan_query`: see `projection`
    COORDINATES_LENGTH = 75  # PROJECTED + 1, or 0
    WIDE_QUERY = 76  # float64 (WIDE_LENGTH,), scratch
    WIDE_LENGTH = 77  # d with SIGNS, otherwise 0


@unique
class BatchField(IntEnum):
    """Several queries of one call. m: queries, d: dimensions, k: hits per query."""

    COUNT = 0  # m
    QUERIES = 1  # float32 (m, d)
    PREPARED = 2  # 1: they are rotated already
    SCORES = 3  # float32 (m, k)
    ROWS = 4  # int64 (m, k)
    COUNTERS = 5  # int64 (m, COUNTERS)
    DIMENSIONS = 6
    K = 7
    ROTATED = 8  # float32 (SEVERAL, d), scratch as all that follow
    PRODUCTS = 9  # float32 (SEVERAL, POSITIONS)
    QUERY_CODES = 10  # int8 (SEVERAL, CODES_LENGTH)
    QUERY_WORDS = 11  # int16 (SEVERAL, WORDS_LENGTH)
    GROUP_SUMS = 12  # int32 (SEVERAL, 64)
    POSITIONS = 13  # number of partitions
    CODES_LENGTH = 14  # number of dimensions in the centroid groups
    WORDS_LENGTH = 15  # d, rounded up to a multiple of 2
    STEPS = 16  # float32 (SEVERAL,)
    TOTALS = 17  # float32 (SEVERAL,)


@unique
class FloatField(IntEnum):
    """The floating-point numbers of a call."""

    RADIUS_FACTOR = 0
    ERROR_SIGMAS = 1
    STEP = 2  # from `plan_query`
    BIAS = 3  # from `plan_query`
    FIRST_MARGIN = 4  # from `plan_query`
    LAST_MARGIN = 5  # from `plan_query`
    RADIUS_DECAY = 6
    SQUARE = 7  # from `plan_query`: squared norm of the rotated query
    TAIL = 8
    FAMILIAR = 9
    DEVIATION = 10  # from `plan_query`: see `route.relative_deviation`
    TAIL_RADII = 11  # from `plan_query`: the tail in radii, like RADIUS_FACTOR
    OPTIMISM = 12  # part of LAST_MARGIN that is added to the estimates of rows that are not read
