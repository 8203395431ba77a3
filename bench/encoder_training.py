"""Training of the query encoder against an index of PQ codes, with a real sentence-transformers model.

``python -m bench.encoder_training FOLDER --model MODEL --work KEPT`` takes the folder of `bench.jpq`, with ``attributes.parquet`` for the
texts of the queries: a query is the synopsis of its positive. It starts from the untrained index that `bench.jpq` keeps.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import vsearch
from bench import report
from bench.data import Data, Rows, Truth, prepare
from bench.jpq import Runs, against, load
from vsearch.jpq.quality import Quality, measure

HEADER = ("queries from", "documents", "MRR@10", "nDCG@10", "recall@100", "MRR against floats")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.encoder_training", description="Training of a query encoder."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sentence-transformers model")
    parser.add_argument("--name", help="name in the results; by default that of the model's folder")
    parser.add_argument("--work", type=Path, required=True, help="folder kept by bench.jpq")
    parser.add_argument("--size", type=int, default=48, help="bytes per vector")
    parser.add_argument("--queries", type=int, default=6400, help="training queries, each seen once")
    parser.add_argument("--rate", type=float, default=5e-5, help="learning rate of the encoder")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    import pyarrow.parquet as pq
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(2)
    task = load(args.folder)
    synopses = pq.read_table(args.folder / "attributes.parquet", columns=["synopsis"]).column(0).to_pylist()
    (questions, relevant), (_, chosen) = task.reported, task.chosen_by
    texts = texts_of(synopses, relevant)
    encoder = SentenceTransformer(str(args.model), device="cpu", local_files_only=True)
    base = Runs(task, args.work, 1).base(args.size, None)
    path = args.work / f"encoder-{args.size}"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(base, path)
    start, processor = time.perf_counter(), time.process_time()
    index = vsearch.jpq.train_encoder(
        vsearch.open(path),
        encoder,
        texts_of(synopses, task.positives[: args.queries]),
        task.positives[: args.queries],
        validation=(texts_of(synopses, chosen), chosen),
        epochs=1,
        encoder_rate=args.rate,
    )
    seconds, used = time.perf_counter() - start, time.process_time() - processor
    opened = vsearch.open(path)
    learned = prepare(vsearch.jpq.load_encoder(opened)(texts), "cosine")

    def ranked(queries: np.ndarray, index: vsearch.Index | None) -> Quality:
        if index is not None:
            return measure(index.search(queries, 100, exact=True).ids, relevant[:, None])
        return measure(np.argsort(-(queries @ task.base.T), axis=1, kind="stable")[:, :100], relevant[:, None])

    floats = ranked(questions, None)
    rows: list[list[object]] = []
    for name, documents, quality in (
        ("the encoder as it is", "floats", floats),
        ("the encoder as it is", f"{args.size} B, untrained", ranked(questions, vsearch.open(base))),
        ("the trained encoder", f"{args.size} B, trained with it", ranked(learned, opened)),
        ("the trained encoder", "floats", ranked(learned, None)),
    ):
        means = [report.share(value) for value in quality.means().values()]
        rows.append([name, documents, *means, "-" if quality is floats else against(quality, floats)])
    history = index.info()["training"]["history"]
    lines = [
        report.table(HEADER, rows),
        (
            f"Trained once over {args.queries:,} queries, learning rate {args.rate:g}, in {seconds:.0f} s of the clock and "
            f"{used:.0f} s of processor time; nDCG@10 on the first half of the validation queries "
            f"{history[0]['ndcg@10']:.4f} before, {history[-1]['ndcg@10']:.4f} after."
        ),
    ]
    data = Data(task.name, "cosine", task.base, questions, Truth(np.empty((0, 0), np.int64), np.empty((0, 0))))
    versions = report.versions(["vsearch", "torch", "sentence-transformers", "faiss-cpu"])
    section = report.section(
        "Trained query encoder", data, lines, {"model": args.name or args.model.name, "versions": versions}
    )
    report.replace(args.results, f"encoder {task.name}", section)


def texts_of(synopses: Sequence[str], rows: Rows) -> list[str]:
    return [synopses[row] for row in rows]


if __name__ == "__main__":
    main()
