"""Draw the sample that ships with the library from a larger collection of texts and embeddings.

    python index/draw_sample.py COLLECTION vsearch/datasets/wordnet-10k --rows 10000 --queries 200

COLLECTION contains ``base.npy`` (float16, rows x dimensions), ``attributes.parquet`` and ``texts.parquet`` (row-aligned),
``queries.npy`` and ``queries.parquet``. Rows are drawn systematically within the strata of one attribute: each stratum keeps
its share and rare ones are never lost; within a stratum the draw is uniform, so that other attributes keep their distributions
as well. The exact neighbors are recomputed on the drawn rows. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NEIGHBORS = 100


def draw(strata: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` rows, each stratum in proportion to its size, in ascending order.

    Rows are sorted by stratum, shuffled within each, and taken at equal steps from a random start.
    """
    order = np.lexsort((rng.random(strata.size), strata))
    steps = (np.arange(count) + rng.random()) * (strata.size / count)
    return np.sort(order[steps.astype(np.int64)])


def exact_neighbors(base: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and cosines of the k nearest neighbors, best first, ties by lower row: int32 and float32, (queries, k)."""

    def unit(vectors: np.ndarray) -> np.ndarray:
        vectors = vectors.astype(np.float64)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    scores = unit(queries) @ unit(base).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows.astype(np.int32), np.take_along_axis(scores, rows, axis=1).astype(np.float32)


def vector_column(vectors: np.ndarray) -> pa.Array:
    """Convert an (n, d) array to a fixed-size list column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def plain_strings(table: pa.Table) -> pa.Table:
    """Convert large strings to strings, and drop foreign metadata."""
    fields = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)


def write(table: pa.Table, path: Path) -> None:
    """Write Parquet with Zstandard; vector bytes are split by position, which compresses slightly better."""
    vectors = [f"{f.name}.list.element" for f in table.schema if pa.types.is_fixed_size_list(f.type)]
    others = [f.name for f in table.schema if not pa.types.is_fixed_size_list(f.type)]
    split = [name for name in vectors if not name.startswith("neighbours")]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=others,
        use_byte_stream_split=split,
        row_group_size=table.num_rows,
    )


def main() -> None:
    """Parse the arguments, draw rows and queries, and write two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--stratum", default="lexname")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)

    attributes = plain_strings(pq.read_table(options.collection / "attributes.parquet"))
    texts = plain_strings(pq.read_table(options.collection / "texts.parquet"))
    rows = draw(attributes[options.stratum].to_numpy(zero_copy_only=False), options.rows, rng)
    base = np.load(options.collection / "base.npy", mmap_mode="r")[rows]
    attributes, texts = attributes.take(rows), texts.take(rows)
    lemmas = pc.split_pattern(texts["title"], ", ")

    questions = plain_strings(pq.read_table(options.collection / "queries.parquet"))
    chosen = draw(questions[options.stratum].to_numpy(zero_copy_only=False), options.queries, rng)
    queries = np.load(options.collection / "queries.npy")[chosen]
    neighbors, scores = exact_neighbors(base, queries, NEIGHBORS)

    options.target.mkdir(parents=True, exist_ok=True)
    table = attributes.append_column("lemmas", lemmas).append_column("text", texts["text"])
    write(table.append_column("vector", vector_column(base)), options.target / "base.parquet")
    columns = {
        "text": questions["qtext"].take(chosen),
        "vector": vector_column(queries),
        "neighbours": vector_column(neighbors),
        "neighbour_scores": vector_column(scores),
    }
    write(pa.table(columns), options.target / "queries.parquet")


if __name__ == "__main__":
    main()
