"""Documents encoded per second by a compressed encoder and by sentence-transformers, and how well both rank them.

``python -m bench.encoder_documents FOLDER --model MODEL --work KEPT``: FOLDER has ``base.npy``, float vectors of the texts in
``texts.parquet``, ``attributes.parquet`` with a column ``synopsis``, and ``validation_positives.npy``, the rows whose synopses are queries.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from bench import report
from bench.data import Floats
from bench.encoder_report import publish
from bench.measure import threads
from vsearch.jpq.quality import measure

HEADER = ("documents by", "queries by", "MRR@10", "nDCG@10", "of float32")
BITS = (8, 4)
BATCHES = (1, 8, 32)
"""Batch sizes of sentence-transformers; the fastest counts."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.encoder_documents", description="Documents per second.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sentence-transformers model")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps compressed encoders and vectors")
    parser.add_argument("--timed", type=int, default=96, help="documents that are timed")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which all encoders are timed in turn")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    import pyarrow.parquet as pq

    args.work.mkdir(parents=True, exist_ok=True)
    base = np.load(args.folder / "base.npy").astype(np.float32)
    texts = [text or "" for text in pq.read_table(args.folder / "texts.parquet", columns=["text"])[0].to_pylist()]
    synopses = pq.read_table(args.folder / "attributes.parquet", columns=["synopsis"])[0].to_pylist()
    relevant = np.load(args.folder / "validation_positives.npy").reshape(-1)
    questions = [synopses[row] for row in relevant]
    with threads(1):
        encoders = {f"vsearch, {bits} bits": _compressed(args, bits, texts[::117]) for bits in BITS}
        truth = vsearch.encoders.load(args.model)
        asked = truth.encode(questions)
        lines: list[list[object]] = []
        floats = _quality(asked, base, relevant)
        lines.append(["float32", "float32", *map(report.share, floats), report.share(1)])
        for name, encoder in encoders.items():
            documents = _kept(args, name, encoder, texts)
            for source, queries in (("float32", asked), (name, encoder.encode(questions))):
                mrr, ndcg = _quality(queries, documents, relevant)
                lines.append([name, source, *map(report.share, (mrr, ndcg, ndcg / floats[1]))])
        timed = texts[:: len(texts) // args.timed][: args.timed]
        tokens = sum(len(truth.model.tokenizer.encode(text, truth.model.architecture.length)) for text in timed)
        speeds = _speeds(args, encoders, timed)
    fastest = min(seconds for name, seconds in speeds.items() if name not in encoders)
    table = [[name, len(timed) / seconds, tokens / seconds, fastest / seconds] for name, seconds in speeds.items()]
    text = [
        report.table(HEADER, lines),
        report.table(("encoder", "documents/s", "tokens/s", "times the fastest of float32"), table),
        (
            f"Processor time of one thread with tokenization, {len(timed)} documents of {tokens / len(timed):.0f} tokens in the mean, "
            f"medians of {args.rounds} rounds in turns."
        ),
    ]
    publish(
        args.results,
        "encoder documents",
        "Documents by text encoders",
        text,
        folder=args.folder,
        base=base,
        queries=len(questions),
        model=args.model,
        packages=["vsearch", "numpy", "torch", "sentence-transformers"],
    )


def _compressed(args: argparse.Namespace, bits: int, texts: Sequence[str]) -> Any:
    folder = args.work / f"vsearch-{bits}-bits"
    if not folder.exists():
        vsearch.encoders.compress(args.model, [text for text in texts if text][:256], bits=bits).save(folder)
    return vsearch.encoders.load(folder)


def _kept(args: argparse.Namespace, name: str, encoder: Any, texts: Sequence[str]) -> Floats:
    """Vectors of all documents, which are kept."""
    path = args.work / f"documents-{'-'.join(name.replace(',', '').split())}.npy"
    if not path.exists():
        np.save(path, encoder.encode(texts, prompt=""))
    vectors: Floats = np.load(path)
    return vectors


def _quality(queries: Floats, documents: Floats, relevant: np.ndarray) -> tuple[float, float]:
    ranked = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :100]
    means = measure(ranked, relevant[:, None]).means()
    return means["mrr@10"], means["ndcg@10"]


def _speeds(args: argparse.Namespace, encoders: dict[str, Any], texts: Sequence[str]) -> dict[str, float]:
    """Median processor seconds for all texts, by encoder."""
    torch: Any = importlib.import_module("torch")
    library: Any = importlib.import_module("sentence_transformers")
    torch.set_num_threads(1)
    model = library.SentenceTransformer(str(args.model), device="cpu", local_files_only=True)
    calls: dict[str, Callable[[], Any]] = {
        name: lambda encoder=encoder: encoder.encode(texts, prompt="")  # type: ignore[misc]
        for name, encoder in encoders.items()
    }
    for size in BATCHES:
        calls[f"sentence-transformers, torch, batches of {size}"] = lambda size=size: model.encode(  # type: ignore[misc]
            list(texts), batch_size=size, show_progress_bar=False
        )
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.rounds):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            times[name].append(time.process_time() - begun)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    main()
