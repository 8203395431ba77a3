"""Compressed text encoders compared with common runtimes: time, size, and nearness to float32.

``python -m bench.encoder FOLDER --model MODEL --work KEPT --relevance FOLDER``: FOLDER has ``base.npy``, vectors of the model, and
``queries.parquet`` with the texts of queries; the other has ``base.npy``, ``attributes.parquet`` with a column ``synopsis``, and
``validation_positives.npy``, rows of these. The model's folder is one of sentence-transformers; peers are made of it in KEPT.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from bench import report
from bench.data import Floats
from bench.encoder_peers import Engine, ours, peers
from bench.encoder_report import publish
from bench.measure import threads

LENGTHS = (5, 12, 32)
"""Numbers of tokens of the timed texts, including the first and the last."""

HEADER = (
    "engine",
    *(f"{length} tokens, us" for length in LENGTHS),
    "model MB",
    "libraries MB",
    "cosine",
    "1 % are below",
)
RANKED = ("recall@10", "MRR@10")

USUAL: dict[str, dict[str, Any]] = {"vsearch, 8 bits": {"bits": 8}, "vsearch, 4 bits": {"bits": 4}}
VARIANTS: dict[str, dict[str, Any]] = {
    "vsearch, bits='auto'": {"bits": "auto"},
    "vsearch, 4 bits, 4 layers": {"bits": 4, "layers": 4},
    "vsearch, 4 bits, 3 layers": {"bits": 4, "layers": 3},
    "vsearch, 4 bits, 16,000 tokens": {"bits": 4, "vocabulary": 16_000},
    "vsearch, ternary, table 4 bits": {"bits": {"weights": "ternary", "table": 4}},
}
"""Arguments of `vsearch.encoders.compress` by engine: those that are always measured, and those of ``--variants``."""


@dataclass(frozen=True)
class Quality:
    """Quality of an engine's vectors: cosine to float32 (mean, 1st percentile), recall of its neighbors, MRR of relevant rows."""

    cosine: float
    worst: float
    recall: float
    mrr: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.encoder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sentence-transformers model")
    parser.add_argument("--relevance", type=Path, required=True, help="folder with relevant rows for MRR@10")
    parser.add_argument("--work", type=Path, required=True, help="folder for compressed encoders and models of peers")
    parser.add_argument("--texts", type=int, default=2000, help="queries that quality is measured on")
    parser.add_argument("--rounds", type=int, default=25, help="rounds in which all engines are timed in turn")
    parser.add_argument("--variants", action="store_true", help="also measure fewer layers, tokens and bits")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    import pyarrow.parquet as pq

    args.work.mkdir(parents=True, exist_ok=True)
    base = np.load(args.folder / "base.npy", mmap_mode="r")
    table = pq.read_table(args.folder / "queries.parquet", columns=["qtext"]).column(0).to_pylist()
    texts: list[str] = [text for text in table if text][: args.texts]
    calibration = calibration_texts(args.folder)
    asked_for = USUAL | (VARIANTS if args.variants else {})
    with threads(1):
        made = {
            name: compressed(args.model, args.work, name, options, calibration) for name, options in asked_for.items()
        }
    folders = {name: folder for name, (folder, _) in made.items()}
    with threads(1):
        others, absent = peers(args.model, args.work)
        engines = [*ours(folders), *others]
        times = _time(engines, by_length(texts, folders["vsearch, 8 bits"]), args.rounds)
        truth = vsearch.encoders.load(args.model)
        expected = truth.encode(texts)
        questions, relevant, rows = relevance(args.relevance)
        near = nearest(expected, base)
        qualities = [judge(engine, texts, expected, near, base, questions, relevant, rows) for engine in engines]
    lines = []
    for engine, engine_times, quality in zip(engines, times, qualities, strict=True):
        sizes = [engine.model_bytes / 1e6, engine.library_bytes / 1e6 or None]
        values = [report.share(value) for value in (quality.cosine, quality.worst, quality.recall, quality.mrr)]
        lines.append([engine.name, *(1e6 * one for one in engine_times), *sizes, *values])
    text = [
        report.table([*HEADER, *RANKED], lines),
        (
            "Processor time of one text at a time on one thread, with tokenization and pooling: median of "
            f"{args.rounds} rounds, in each of which all engines took their turn with the same texts. Quality on {len(texts):,} queries; recall@10 is the part "
            f"of the 10 nearest of {len(base):,} rows under float32 that are the 10 nearest under the engine's vector; MRR@10 of {len(questions):,} synopses "
            f"against {len(rows):,} descriptions."
        ),
        report.table(("compression", "processor time, s"), [[name, seconds] for name, (_, seconds) in made.items()]),
        report.absences(absent),
    ]
    packages = ["vsearch", "numpy", "torch", "sentence-transformers", "onnxruntime", "ctranslate2", "tokenizers"]
    publish(
        args.results,
        "encoders",
        "Text encoders",
        text,
        folder=args.folder,
        base=base,
        queries=len(texts),
        model=args.model,
        packages=packages,
    )


def calibration_texts(folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    texts: list[str] = pq.read_table(folder / "texts.parquet", columns=["text"]).column(0).to_pylist()
    return texts[:: len(texts) // 256][:256]


def compressed(model: Path, work: Path, name: str, options: dict[str, Any], texts: Sequence[str]) -> tuple[Path, float]:
    """The folder of a compressed encoder, and the processor time in seconds that making it took; both are kept."""
    folder = work / "-".join(re.findall(r"\w+", name))
    timing = folder.with_suffix(".json")
    if not timing.exists():
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vsearch.VsearchWarning)  # what fewer tokens cost is in the table
            encoder = vsearch.encoders.compress(model, texts, **options)
        seconds = time.process_time() - begun
        encoder.save(folder)
        timing.write_text(json.dumps({"seconds": seconds}))
    return folder, json.loads(timing.read_text())["seconds"]


def by_length(texts: Sequence[str], folder: Path) -> list[list[str]]:
    """Texts of each length, made by cutting and joining words until they have the required number of tokens."""
    tokenizer = vsearch.encoders.load(folder).model.tokenizer
    words = " ".join(texts).split()
    groups = []
    for length in LENGTHS:
        made: list[str] = []
        at = 0
        while len(made) < 8:
            for stop in range(at + 1, at + length + 1):
                count = len(tokenizer.encode(" ".join(words[at:stop]), 10 * length))
                if count >= length:
                    made += [" ".join(words[at:stop])] if count == length else []
                    break
            at += length
        groups.append(made)
    return groups


def _time(engines: Sequence[Engine], texts: Sequence[Sequence[str]], rounds: int) -> list[list[float]]:
    """CPU seconds of each engine for a text of each length: medians over rounds."""
    engine_times: list[list[list[float]]] = [[[] for _ in texts] for _ in engines]
    for number in range(rounds + 1):
        for engine, times in zip(engines, engine_times, strict=True):
            for of_length, seconds in zip(texts, times, strict=True):
                begun = time.process_time()
                for text in of_length:
                    engine.encode(text)
                if number:  # the first round warms up
                    seconds.append((time.process_time() - begun) / len(of_length))
    return [[statistics.median(seconds) for seconds in times] for times in engine_times]


def relevance(folder: Path) -> tuple[list[str], np.ndarray, Floats]:
    import pyarrow.parquet as pq

    synopses = pq.read_table(folder / "attributes.parquet", columns=["synopsis"]).column(0).to_pylist()
    relevant = np.load(folder / "validation_positives.npy").reshape(-1)
    return [synopses[row] for row in relevant], relevant, np.load(folder / "base.npy").astype(np.float32)


def judge(
    engine: Engine,
    texts: Sequence[str],
    expected: Floats,
    near: Sequence[Sequence[int]],
    base: Floats,
    questions: Sequence[str],
    relevant: np.ndarray,
    rows: Floats,
) -> Quality:
    """The quality of an engine; `near` are the rows of the base that are nearest to the expected vectors."""
    vectors = np.stack([engine.encode(text) for text in texts])
    cosines = (vectors * expected).sum(axis=1)
    pairs = zip(near, nearest(vectors, base), strict=True)
    recall = np.mean([len({*a} & {*b}) / len(a) for a, b in pairs])
    ranked = nearest(np.stack([engine.encode(text) for text in questions]), rows)
    ranks = [
        next((1 / (1 + n) for n, row in enumerate(one) if row == relevant_row), 0.0)
        for one, relevant_row in zip(ranked, relevant, strict=True)
    ]
    return Quality(float(cosines.mean()), float(np.percentile(cosines, 1)), float(recall), float(np.mean(ranks)))


def nearest(queries: Floats, rows: Floats) -> list[list[int]]:
    nearest: list[list[int]] = []
    matrix = np.asarray(rows, np.float32)
    for start in range(0, len(queries), 200):
        scores = queries[start : start + 200] @ matrix.T
        best = np.argpartition(-scores, 10, axis=1)[:, :10]
        order = np.take_along_axis(-scores, best, axis=1).argsort(axis=1, kind="stable")
        nearest += np.take_along_axis(best, order, axis=1).tolist()
    return nearest


if __name__ == "__main__":
    main()
