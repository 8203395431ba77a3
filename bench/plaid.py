"""``python bench/plaid.py FOLDER OUT REPETITIONS``: fast-plaid on the documents of `bench.documents`; prints one line of JSON.

It runs in a separate interpreter that has fast-plaid and torch and need not have vsearch. Times are processor time.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS: dict[str, dict[str, int]] = {
    "as it comes": {},
    "8 probes, 512 scored": {"n_ivf_probe": 8, "n_full_scores": 512},
    "4 probes, 256 scored": {"n_ivf_probe": 4, "n_full_scores": 256},
    "4 probes, 128 scored": {"n_ivf_probe": 4, "n_full_scores": 128},
}


def main(folder: Path, out: str, repetitions: int) -> None:
    import torch
    from fast_plaid import search  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    vectors, offsets = np.load(folder / "doc_vectors.npy").astype(np.float32), np.load(folder / "doc_offsets.npy")
    query_vectors, edges = (
        np.load(folder / "query_vectors.npy").astype(np.float32),
        np.load(folder / "query_offsets.npy"),
    )
    index = search.FastPlaid(index=out, device="cpu")
    documents = [torch.from_numpy(vectors[a:b]) for a, b in itertools.pairwise(offsets)]
    index.create(documents_embeddings=documents, nbits=2)
    queries = [torch.from_numpy(query_vectors[a:b])[None] for a, b in itertools.pairwise(edges)]
    result: dict[str, Any] = {"version": metadata.version("fast-plaid"), "settings": {}}
    for name, setting in SETTINGS.items():
        best, ids = np.full(len(queries), np.inf), list[list[int]]()
        for _ in range(repetitions):
            ids = []
            for number, query in enumerate(queries):
                start = time.process_time()
                hits = index.search(queries_embeddings=query, top_k=10, show_progress=False, n_processes=1, **setting)
                best[number] = min(best[number], time.process_time() - start)
                ids.append([int(document) for document, _ in hits[0]])
        result["settings"][name] = {"ids": ids, "milliseconds": float(np.median(best)) * 1e3}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
