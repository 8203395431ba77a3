"""The same task in vsearch, LanceDB, Chroma, Qdrant's local mode and FAISS: lines, concepts, seconds, bytes on disk, recall.

Rows with attributes are written, searched under a filter, added, deleted, replaced, opened again and exported. What a library does not do itself is written
out, as a user would. Lines are those of the function bodies, without blank ones; concepts are the different functions, methods and classes that they call,
other than those of Python and NumPy. Run ``python -m bench.ecosystem`` with the peers installed; those that are not are left out.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import vsearch

K, QUERIES, MORE = 10, 100, 500
STEPS = ("ingest", "search", "add", "delete", "upsert", "reopen", "export")


@dataclass(frozen=True)
class Data:
    """The rows of the task, and the true neighbors among those with ``pos = 'verb'``."""

    ids: list[str]
    vectors: np.ndarray
    pos: list[str]
    length: list[int]
    queries: np.ndarray
    true: np.ndarray


def load() -> Data:
    """Return the shipped sample, of which the last rows are added later."""
    sample = vsearch.datasets.load("wordnet-10k")
    table = sample.attributes
    vectors = sample.vectors / np.linalg.norm(sample.vectors, axis=1, keepdims=True)
    queries = sample.queries[:QUERIES] / np.linalg.norm(sample.queries[:QUERIES], axis=1, keepdims=True)
    pos = table["pos"].to_pylist()
    verbs = np.flatnonzero(np.array(pos[:-MORE]) == "verb")
    true = verbs[np.argsort(-(queries @ vectors[verbs].T), axis=1)[:, :K]]
    ids = [f"row{row}" for row in range(len(vectors))]
    return Data(ids, vectors.astype(np.float32), pos, table["gloss_len"].to_pylist(), queries.astype(np.float32), true)


def run_vsearch(d: Data, folder: Path, step: Callable[[str], None]) -> list[list[str]]:
    table = {"pos": d.pos, "length": d.length}
    first, more = slice(None, -MORE), slice(-MORE, None)

    def part(rows: slice) -> dict[str, Any]:
        return {name: values[rows] for name, values in table.items()}

    index = vsearch.build(d.vectors[first], folder / "i", part(first), d.ids[first])
    step("ingest")
    ids = [index.search(query, K, "pos = 'verb'").ids[0].tolist() for query in d.queries]
    step("search")
    index.append(d.vectors[more], part(more), d.ids[more])
    step("add")
    index.delete(where="length > 150")
    step("delete")
    index.upsert(d.vectors[:MORE], part(slice(MORE)), d.ids[:MORE])
    step("upsert")
    index = vsearch.open(folder / "i")
    step("reopen")
    index.export(folder / "rows.parquet")
    step("export")
    return ids


def run_lancedb(d: Data, folder: Path, step: Callable[[str], None]) -> list[list[str]]:
    import lancedb
    import pyarrow as pa
    import pyarrow.parquet as pq
    from lancedb.index import Bitmap

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(d.vectors.reshape(-1)), d.vectors.shape[1])
    rows = pa.table({"id": d.ids, "vector": vectors, "pos": d.pos, "length": d.length})
    table = lancedb.connect(folder / "db").create_table("rows", rows.slice(0, len(rows) - MORE))
    table.create_index("pos", config=Bitmap())  # none of the vectors: its documentation advises that below 100,000 rows
    step("ingest")
    searches = [table.search(query).distance_type("cosine") for query in d.queries]
    answers = [search.where("pos = 'verb'", prefilter=True).limit(K).to_arrow() for search in searches]
    ids = [answer["id"].to_pylist() for answer in answers]
    step("search")
    table.add(rows.slice(len(rows) - MORE))
    step("add")
    table.delete("length > 150")
    step("delete")
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows.slice(0, MORE))
    step("upsert")
    table = lancedb.connect(folder / "db").open_table("rows")
    step("reopen")
    pq.write_table(table.to_arrow(), folder / "rows.parquet")
    step("export")
    return ids


def run_chroma(d: Data, folder: Path, step: Callable[[str], None]) -> list[list[str]]:
    import chromadb
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadatas = [{"pos": pos, "length": length} for pos, length in zip(d.pos, d.length, strict=True)]
    table = chromadb.PersistentClient(str(folder / "db")).create_collection(
        "rows", configuration={"hnsw": {"space": "cosine"}}
    )
    for start in range(0, len(d.ids) - MORE, 5000):
        rows = slice(start, min(start + 5000, len(d.ids) - MORE))
        table.add(d.ids[rows], d.vectors[rows], metadatas[rows])
    step("ingest")
    ids = [table.query(query_embeddings=[query], n_results=K, where={"pos": "verb"})["ids"][0] for query in d.queries]
    step("search")
    table.add(d.ids[-MORE:], d.vectors[-MORE:], metadatas[-MORE:])
    step("add")
    table.delete(where={"length": {"$gt": 150}})
    step("delete")
    table.upsert(d.ids[:MORE], d.vectors[:MORE], metadatas[:MORE])
    step("upsert")
    table = chromadb.PersistentClient(str(folder / "db")).get_collection("rows")
    step("reopen")
    rows = table.get(include=["embeddings", "metadatas"])
    columns = {name: [row[name] for row in rows["metadatas"]] for name in ("pos", "length")}
    pq.write_table(
        pa.table({"id": rows["ids"], "vector": list(rows["embeddings"]), **columns}), folder / "rows.parquet"
    )
    step("export")
    return ids


def run_qdrant(d: Data, folder: Path, step: Callable[[str], None]) -> list[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder / "db"))
    client.create_collection("rows", models.VectorParams(size=d.vectors.shape[1], distance=models.Distance.COSINE))
    points = [
        models.PointStruct(
            id=row,
            vector=d.vectors[row].tolist(),
            payload={"id": d.ids[row], "pos": d.pos[row], "length": d.length[row]},
        )
        for row in range(len(d.ids))
    ]
    client.upsert("rows", points[:-MORE])
    step("ingest")
    verbs = models.Filter(must=[models.FieldCondition(key="pos", match=models.MatchValue(value="verb"))])
    answers = [client.query_points("rows", query.tolist(), query_filter=verbs, limit=K) for query in d.queries]
    ids = [[point.payload["id"] for point in answer.points] for answer in answers]
    step("search")
    client.upsert("rows", points[-MORE:])
    step("add")
    long = models.Filter(must=[models.FieldCondition(key="length", range=models.Range(gt=150))])
    client.delete("rows", models.FilterSelector(filter=long))
    step("delete")
    client.upsert("rows", points[:MORE])
    step("upsert")
    client.close()
    client = QdrantClient(path=str(folder / "db"))
    step("reopen")
    kept, offset = [], None
    while not kept or offset is not None:
        page, offset = client.scroll("rows", limit=2000, offset=offset, with_vectors=True)
        kept += page
    columns = {name: [point.payload[name] for point in kept] for name in ("id", "pos", "length")}
    pq.write_table(pa.table({**columns, "vector": [point.vector for point in kept]}), folder / "rows.parquet")
    step("export")
    client.close()
    return ids


def run_faiss(d: Data, folder: Path, step: Callable[[str], None]) -> list[list[str]]:
    import faiss
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = faiss.index_factory(d.vectors.shape[1], "IDMap2,Flat", faiss.METRIC_INNER_PRODUCT)
    rows = {row: (d.ids[row], d.pos[row], d.length[row]) for row in range(len(d.ids) - MORE)}
    index.add_with_ids(d.vectors[:-MORE], np.arange(len(rows)))
    faiss.write_index(index, str(folder / "i.faiss"))
    (folder / "rows.json").write_text(json.dumps(rows))
    step("ingest")
    verbs = faiss.IDSelectorBatch(np.array([row for row, (_, pos, _) in rows.items() if pos == "verb"]))
    ids = []
    for query in d.queries:
        _, nearest = index.search(query[None], K, params=faiss.SearchParameters(sel=verbs))
        ids += [[rows[row][0] for row in nearest[0].tolist()]]
    step("search")
    fresh = range(len(rows), len(d.ids))
    rows |= {row: (d.ids[row], d.pos[row], d.length[row]) for row in fresh}
    index.add_with_ids(d.vectors[-MORE:], np.array(fresh))
    faiss.write_index(index, str(folder / "i.faiss"))
    (folder / "rows.json").write_text(json.dumps(rows))
    step("add")
    long_rows = np.array([row for row, (_, _, length) in rows.items() if length > 150])
    index.remove_ids(long_rows)
    rows = {row: values for row, values in rows.items() if values[2] <= 150}
    faiss.write_index(index, str(folder / "i.faiss"))
    (folder / "rows.json").write_text(json.dumps(rows))
    step("delete")
    index.remove_ids(np.arange(MORE))
    index.add_with_ids(d.vectors[:MORE], np.arange(MORE))
    rows |= {row: (d.ids[row], d.pos[row], d.length[row]) for row in range(MORE)}
    faiss.write_index(index, str(folder / "i.faiss"))
    (folder / "rows.json").write_text(json.dumps(rows))
    step("upsert")
    index = faiss.read_index(str(folder / "i.faiss"))
    rows = {int(row): values for row, values in json.loads((folder / "rows.json").read_text()).items()}
    step("reopen")
    vectors = [index.reconstruct(row) for row in rows]
    columns = dict(zip(("id", "pos", "length"), zip(*rows.values(), strict=True), strict=True))
    pq.write_table(pa.table({**columns, "vector": vectors}), folder / "rows.parquet")
    step("export")
    return ids


TASKS: dict[str, tuple[str, Callable[..., list[list[str]]]]] = {
    "vsearch": ("vsearch", run_vsearch),
    "LanceDB": ("lancedb", run_lancedb),
    "Chroma": ("chromadb", run_chroma),
    "Qdrant, local mode": ("qdrant-client", run_qdrant),
    "FAISS, with a JSON file": ("faiss-cpu", run_faiss),
}


def measure(task: Callable[..., list[list[str]]], data: Data) -> dict[str, Any]:
    """Run a task in an empty folder; seconds of the processor by step."""
    folder, spent, begun = Path(tempfile.mkdtemp()), dict[str, float](), [time.process_time()]

    def step(name: str) -> None:
        now = time.process_time()
        spent[name] = now - begun[0]
        begun[0] = time.process_time()

    try:
        answers = task(data, folder, step)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "rows.parquet")
    finally:
        shutil.rmtree(folder)
    right = [len({data.ids[row] for row in true} & set(ids)) / K for true, ids in zip(data.true, answers, strict=True)]
    return {
        "recall": float(np.mean(right)),
        "bytes": size,
        "lines": count_lines(task),
        "concepts": len(concepts(task)),
        **spent,
    }


def count_lines(task: Callable[..., Any]) -> int:
    """Return the lines of a function's body that are neither blank nor marks of a step."""
    lines = inspect.getsource(task).splitlines()[1:]
    return sum(bool(line.strip()) and not line.strip().startswith(("step(", "return ids")) for line in lines)


KNOWN = {"tolist", "items", "values", "array", "arange", "reshape", "write_text", "read_text", "loads", "dumps", "step"}
"""Methods and functions of Python and NumPy that the tasks call."""


def concepts(task: Callable[..., Any]) -> set[str]:
    """Return the names of what a function calls, except what it defines, Python's own and NumPy's."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(task)))
    known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)} | set(dir(builtins)) | KNOWN
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = {call.attr for call in calls if isinstance(call, ast.Attribute)} - KNOWN
    return methods | {call.id for call in calls if isinstance(call, ast.Name)} - known


def main() -> None:
    """Print the table as Markdown; of one contestant, if it is named."""
    data = load()
    run_vsearch(data, Path(tempfile.mkdtemp()), lambda _: None)  # compiles kernels, if they are not
    print("| | version | lines | concepts | MB | recall@10 | " + " | ".join(STEPS) + " |")
    print("|---" * (6 + len(STEPS)) + "|")
    for name, (package, task) in TASKS.items():
        if not name.lower().startswith(tuple(sys.argv[1:]) or ""):
            continue
        try:
            version = metadata.version(package)
            row = measure(task, data)
        except (ImportError, metadata.PackageNotFoundError):
            continue
        times = " | ".join(f"{row[step]:.2f}" for step in STEPS)
        print(
            f"| {name} | {version} | {row['lines']} | {row['concepts']} | {row['bytes'] / 1e6:.1f} | {row['recall']:.3f} | {times} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
