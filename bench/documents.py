"""``python -m bench.documents FOLDER``: multi-vector documents, quality against size and time.

FOLDER contains ``doc_vectors.npy``, ``doc_offsets.npy``, ``doc_saliency.npy``, ``query_vectors.npy``, ``query_offsets.npy`` and
``relevant.npy`` (the document that each query belongs to). Every variant of the index is built in a temporary folder. Its quality
is that of all documents ranked by its codes, independent of candidates, which are measured separately.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import documents_report
from bench.documents_variants import Bench, Tokens

HERE = Path(__file__).parent


def measure(bench: Bench) -> None:
    """Measure every variant, alone and in the best combinations."""
    rng = np.random.default_rng(0)
    saliency = bench.tokens.saliency
    choices: dict[str, NDArray[Any]] = {
        "salient": saliency,
        "random": rng.random(len(saliency)),
        "least salient": -saliency,
    }
    bench.pooled()
    for choice, weights in choices.items():
        for keep in (0.75, 0.5, 0.25):
            bench.reduced(f"keep {keep:.0%} {choice}, float16", f"float16, keep {choice}", weights, keep, None)
    for pool in (2, 3, 4):
        bench.reduced(f"merge {pool}, float16", "float16, merged", None, 1.0, pool)
    for bits in (0, 1, 2, 4):
        name = f"K=256 + {bits} bit" if bits else "K=256 codes alone"
        bench.index(name, "K=256 + 0, 1, 2, 4 bit", residual_bits=bits, beside_exact=True)
    bench.index("K=4096 codes alone (2 bytes)", "K=4096 codes", residual_bits=0, codebook=4096)
    bench.index("binary, K=256 (8 bit)", "binary", residual_bits=0, binary=True)
    bench.index("binary, K=512 (9 bit)", "binary", residual_bits=0, binary=True, codebook=512)
    for choice, weights in choices.items():
        for keep in (0.75, 0.5, 0.25):
            name, group = f"K=256 + 1 bit, keep {keep:.0%} {choice}", f"1 bit, keep {choice}"
            bench.index(name, group, residual_bits=1, keep=keep, saliency=weights)
    for keep in (0.75, 0.5, 0.25):
        name = f"K=256 + 2 bit, keep {keep:.0%} salient"
        bench.index(name, "2 bit, keep salient", residual_bits=2, keep=keep, saliency=saliency)
    for bits in (1, 2):
        for pool in (2, 3, 4):
            bench.index(f"K=256 + {bits} bit, merge {pool}", f"{bits} bit, merged", residual_bits=bits, pool=pool)
    for pool in (2, 3):
        bench.index(f"K=256 codes, merge {pool}", "codes alone, merged", residual_bits=0, pool=pool)
    both: dict[str, Any] = {"saliency": saliency, "pool": 2}
    for keep in (0.75, 0.5):
        name = f"K=256 + 1 bit, keep {keep:.0%} salient, merge 2"
        bench.index(name, "1 bit, keep salient, merge 2", residual_bits=1, keep=keep, **both)


def run(folder: Path, python: str, out: Path) -> None:
    """Measure everything, and write the section and the plot."""
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        bench = Bench(Tokens.load(folder), Path(scratch))
        measure(bench)
        bench.candidates("encodings, 2 bit", (32, 64, 96, 128, 192, 256), residual_bits=2)
        bench.candidates("encodings, 1 bit", (64, 128, 256), residual_bits=1)
        bench.candidates("lists, 2 bit", (32, 64, 128, 256), residual_bits=2, candidates="lists")
        documents_report.write(bench, None, out)
        documents_report.write(bench, bench.fast_plaid(folder, python), out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--fast-plaid", default="python3", help="interpreter with fast-plaid and its torch")
    args = parser.parse_args()
    run(args.folder, args.fast_plaid, args.out)


if __name__ == "__main__":
    main()
