"""Views of the fused kernels' argument blocks: dtypes (float16 as uint16) and shapes of the arrays in `fields`."""

from __future__ import annotations

from vsearch.kernels.query.fields import (
    COUNTERS,
    HEAD,
    MARKS,
    PENDING,
    RADIX,
    SEVERAL,
    TOGETHER,
    BatchField,
    CallField,
    FloatField,
    ModelField,
    RunField,
    RunsField,
    ShardField,
)
from vsearch.kernels.toolchain.views import ArrayField, view

#: Data shared by all shards.
MODEL = {
    "mean": ArrayField("float32", ("dimensions",)),
    "rotation": ArrayField("float32", ("dimensions", "dimensions")),
    "centroids": ArrayField("float32", ("partitions", "dimensions")),
    "half_centroids": ArrayField("uint16", ("partitions", "dimensions")),
    "centroid_squares": ArrayField("float32", ("partitions",)),
    "centroid_rounding_bounds": ArrayField("float32", ("partitions",)),
    "centroid_groups": ArrayField("uint8", ("groups", "centroid_group_width")),
    "centroid_steps": ArrayField("float32", ("positions",)),
    "centroid_lows": ArrayField("float32", ("positions",)),
    "members": ArrayField("int32", ("positions",)),
    "position_squares": ArrayField("float32", ("positions",)),
    "position_rounding_bounds": ArrayField("float32", ("positions",)),
    "position_radii": ArrayField("float32", ("positions",)),
    "region_starts": ArrayField("int64", ("regions",)),
    "region_sizes": ArrayField("int64", ("regions",)),
    "region_groups": ArrayField("uint8", ("region_blocks", "centroid_group_width")),
    "region_steps": ArrayField("float32", ("regions",)),
    "region_lows": ArrayField("float32", ("regions",)),
    "region_squares": ArrayField("float32", ("regions",)),
    "region_rounding_bounds": ArrayField("float32", ("regions",)),
    "region_spreads": ArrayField("float32", ("regions",)),
    "radii": ArrayField("float32", ("partitions",)),
    "fades": ArrayField("float32", ("fades_length",)),
    "rerank_weights": ArrayField("float32", ("dimensions",)),
    "variances": ArrayField("float32", ("variances_length",)),
    "least_deviation": ArrayField("float32", (1,)),
    "table_scale": ArrayField("float32", ("coded",)),
    "plane_dimensions": ArrayField("int32", ("planes",)),
    "plane_offsets": ArrayField("int32", ("planes",)),
    "stage_scales": ArrayField("float32", ("stages",)),
    "stage_deviations": ArrayField("float32", ("stages",)),
    "rotation_groups": ArrayField("int16", ("rotation_blocks", "rotation_width")),
    "rotation_steps": ArrayField("float32", ("dimensions",)),
    "signs": ArrayField("int8", ("sign_rounds", "dimensions")),
    "projection_groups": ArrayField("uint8", ("projection_blocks", "projection_width")),
    "projection_steps": ArrayField("float32", ("projected",)),
    "projection_lows": ArrayField("float32", ("projected",)),
}
model_at = view("model", ModelField, MODEL)

#: The runs that a query searches.
RUNS = {
    "runs": ArrayField("int64", ("count",)),
    "owners": ArrayField("int32", ("partitions",)),
}
runs_at = view("runs", RunsField, RUNS)

#: One of these runs.
RUN = {
    "mask": ArrayField("uint64", ("mask_words",)),
    "reaches": ArrayField("float32", ("reach_count",)),
    "read": ArrayField("uint8", ("read_count",)),
    "complete": ArrayField("uint8", ("read_count",)),
    "row_arrays": ArrayField("int64", ("row_array_count", 5)),
}
run_at = view("run", RunField, RUN)

#: The data of one run.
SHARD = {
    "row_starts": ArrayField("int64", ("partitions",)),
    "row_counts": ArrayField("int64", ("partitions",)),
    "block_starts": ArrayField("int64", ("partitions",)),
    "factor_scales": ArrayField("float32", ("partitions",)),
    "first_factor_scales": ArrayField("float32", ("partitions",)),
    "rerank_partition_scales": ArrayField("float32", ("partitions",)),
    "first_codes": ArrayField("uint8", ("blocks", "first_width")),
    "later_codes": ArrayField("uint8", ("blocks", "later_width")),
    "factors": ArrayField("uint16", ("rows",)),
    "first_factors": ArrayField("uint16", ("rows",)),
    "offsets": ArrayField("float32", ("rows",)),
    "rerank_scales": ArrayField("uint16", ("rows",)),
    "rerank_bytes": ArrayField("int8", ("rows", "dimensions")),
    "rerank_halves": ArrayField("uint16", ("rows", "dimensions")),
    "rerank_floats": ArrayField("float32", ("rows", "dimensions")),
    "positions": ArrayField("uint32", ("rows",)),
}
shard_at = view("shard", ShardField, SHARD)

#: One query on one workspace.
CALL = {
    "query": ArrayField("float32", ("dimensions",)),
    "rotated": ArrayField("float32", ("dimensions",)),
    "rerank_query": ArrayField("float32", ("dimensions",)),
    "scaled": ArrayField("float32", ("dimensions",)),
    "query_codes": ArrayField("int8", ("codes_length",)),
    "query_words": ArrayField("int16", ("words_length",)),
    "group_sums": ArrayField("int32", (TOGETHER,)),
    "floats": ArrayField("float32", (len(FloatField),)),
    "tables": ArrayField("float32", ("nibbles", 16)),
    "byte_tables": ArrayField("float32", ("bytes", 256)),
    "rounded": ArrayField("uint8", ("first_nibbles", 16)),
    "expanded": ArrayField("uint8", ("expanded_bytes",)),
    "sums": ArrayField("float32", (32,)),
    "order": ArrayField("int32", ("partitions",)),
    "rest": ArrayField("int32", ("partitions",)),
    "centroid_scores": ArrayField("float32", ("partitions",)),
    "upper_bounds": ArrayField("float32", ("partitions",)),
    "effective_radii": ArrayField("float32", ("partitions",)),
    "match_counts": ArrayField("int64", ("partitions",)),
    "keys": ArrayField("uint32", ("partitions",)),
    "spare_order": ArrayField("int32", ("partitions",)),
    "spare_keys": ArrayField("uint32", ("partitions",)),
    "histogram": ArrayField("int32", (RADIX,)),
    "slots": ArrayField("int64", (2 * HEAD,)),
    "scores": ArrayField("float32", ("k",)),
    "rows": ArrayField("int64", ("k",)),
    "pending": ArrayField("int64", (3, PENDING)),
    "pending_scales": ArrayField("float32", (PENDING,)),
    "counters": ArrayField("int64", (COUNTERS,)),
    "seen": ArrayField("uint64", ("seen_words",)),
    "marks": ArrayField("int64", (MARKS,)),
    "chosen": ArrayField("int32", ("chosen_length",)),
    "candidates": ArrayField("int32", ("candidates_length",)),
    "candidate_scores": ArrayField("float32", ("candidates_length",)),
    "candidate_bounds": ArrayField("float32", ("candidates_length",)),
    "candidate_radii": ArrayField("float32", ("candidates_length",)),
    "candidate_matches": ArrayField("int64", ("candidates_length",)),
    "coordinates": ArrayField("float32", ("coordinates_length",)),
    "wide_query": ArrayField("float64", ("wide_length",)),
    "missing": ArrayField("int32", ("missing_length",)),
    "unread_rows": ArrayField("int64", (2, "unread_rows_length")),
}
call_at = view("call", CallField, CALL)

#: Several queries on one workspace.
BATCH = {
    "queries": ArrayField("float32", ("count", "dimensions")),
    "scores": ArrayField("float32", ("count", "k")),
    "rows": ArrayField("int64", ("count", "k")),
    "counters": ArrayField("int64", ("count", COUNTERS)),
    "rotated": ArrayField("float32", (SEVERAL, "dimensions")),
    "products": ArrayField("float32", (SEVERAL, "positions")),
    "query_codes": ArrayField("int8", (SEVERAL, "codes_length")),
    "query_words": ArrayField("int16", (SEVERAL, "words_length")),
    "group_sums": ArrayField("int32", (SEVERAL, TOGETHER)),
    "steps": ArrayField("float32", (SEVERAL,)),
    "totals": ArrayField("float32", (SEVERAL,)),
}
batch_at = view("batch", BatchField, BATCH)
