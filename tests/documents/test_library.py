"""MaxSim from libraries compiled ahead of time, as run by workers without Numba."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import vsearch
from vsearch.kernels.toolchain.ahead_of_time import TARGETS

HEAVY = {"numba", "llvmlite", "pyarrow", "faiss", "sklearn", "scipy", "sqlglot"}

ANSWER = """
import json, sys
import numpy as np
from vsearch.kernels.toolchain.compiling import LIBRARY
from vsearch.multivector.opening import open_documents
from vsearch.multivector.search import DocumentRequest, search_documents
from vsearch.search.state.snapshot import open_snapshot
from vsearch.search.engine.stats import SearchStats
from vsearch.storage import open_store, read_manifest
store = open_store(sys.argv[1])
snapshot = open_snapshot(store, read_manifest(store))
part = open_documents(snapshot)
flat, edges = np.load(sys.argv[2]), np.load(sys.argv[3])
queries = [flat[a:b] for a, b in zip(edges, edges[1:])]
answer = search_documents(snapshot, part, queries, DocumentRequest(10, 40), None, SearchStats())
print(json.dumps({"target": LIBRARY.target if LIBRARY else None, "rows": answer.rows.tolist(),
    "scores": answer.scores.tolist(), "loaded": sorted({name.split(".")[0] for name in sys.modules})}))
"""


@pytest.mark.parametrize(
    "options",
    [{}, {"codebook": 300, "residual_bits": 1}, {"binary": True, "residual_bits": 0}, {"candidates": "lists"}],
    ids=str,
)
def test_a_library_answers_as_the_compiler(kernels, collection, tmp_path, options) -> None:
    index = vsearch.build_documents(
        collection.vectors, collection.offsets, tmp_path / "index", dimensions=64, **({"codebook": 40} | options)
    )
    np.save(tmp_path / "queries.npy", np.concatenate(collection.queries))
    np.save(tmp_path / "edges.npy", np.concatenate([[0], np.cumsum([len(q) for q in collection.queries])]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VSEARCH")}
    environment["VSEARCH_KERNELS"] = str(kernels)
    arguments = [str(tmp_path / name) for name in ("index", "queries.npy", "edges.npy")]
    command = [sys.executable, "-W", "error", "-c", ANSWER, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["target"] in TARGETS
    assert not HEAVY & set(answer["loaded"])
    hits = index.search_documents(collection.queries, k=10, candidates=40)
    np.testing.assert_allclose(answer["scores"], hits.scores, rtol=1e-4)
