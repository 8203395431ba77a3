"""Compressed text encoders compared with common runtimes: time, size, nearness to float32, and texts through functions.

``python -m bench.encoder FOLDER --model MODEL --work KEPT --relevance FOLDER``: FOLDER has ``base.npy``, vectors of the model, and
``queries.parquet`` with the texts of queries; the other has ``base.npy``, ``attributes.parquet`` with a column ``synopsis``, and
``validation_positives.npy``, rows of these. The model's folder is one of sentence-transformers; peers are made of it in KEPT.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
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

COLD = """
import time
import numpy
begun = time.perf_counter()
{load}
{encode}
print(time.perf_counter() - begun)
"""


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
    parser.add_argument("--stack", action="store_true", help="also time texts through the local FaaS")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    import pyarrow.parquet as pq

    args.work.mkdir(parents=True, exist_ok=True)
    base = np.load(args.folder / "base.npy", mmap_mode="r")
    table = pq.read_table(args.folder / "queries.parquet", columns=["qtext"]).column(0).to_pylist()
    texts: list[str] = [text for text in table if text][: args.texts]
    calibration = (
        pq.read_table(args.folder / "texts.parquet", columns=["text"]).column(0).to_pylist()[:: len(base) // 256][:256]
    )
    asked_for = USUAL | (VARIANTS if args.variants else {})
    with threads(1):
        made = {
            name: _compress(args.model, args.work, name, options, calibration) for name, options in asked_for.items()
        }
    folders = {name: folder for name, (folder, _) in made.items()}
    with threads(1):
        others, absent = peers(args.model, args.work)
        engines = [*ours(folders), *others]
        times = _time(engines, _by_length(texts, folders["vsearch, 8 bits"]), args.rounds)
        truth = vsearch.encoders.load(args.model)
        expected = truth.encode(texts)
        questions, relevant, rows = relevance(args.relevance)
        qualities = [judge(engine, texts, expected, base, questions, relevant, rows) for engine in engines]
    usual = {name: folders[name] for name in USUAL}
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
        report.table(("process-cold, ms above NumPy", "best", "median"), _cold(usual, args.work, args.model)),
        "A fresh process from after the import of NumPy to the first vector, from local files, wall clock, best and median of 9.",
        *(_through_functions(args, usual, base, texts) if args.stack else ()),
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


def _compress(model: Path, work: Path, name: str, options: dict[str, Any], texts: Sequence[str]) -> tuple[Path, float]:
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


def _by_length(texts: Sequence[str], folder: Path) -> list[list[str]]:
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
    base: Floats,
    questions: Sequence[str],
    relevant: np.ndarray,
    rows: Floats,
) -> Quality:
    vectors = np.stack([engine.encode(text) for text in texts])
    cosines = (vectors * expected).sum(axis=1)
    pairs = zip(_nearest(expected, base), _nearest(vectors, base), strict=True)
    recall = np.mean([len({*a} & {*b}) / len(a) for a, b in pairs])
    ranked = _nearest(np.stack([engine.encode(text) for text in questions]), rows)
    ranks = [
        next((1 / (1 + n) for n, row in enumerate(one) if row == relevant_row), 0.0)
        for one, relevant_row in zip(ranked, relevant, strict=True)
    ]
    return Quality(float(cosines.mean()), float(np.percentile(cosines, 1)), float(recall), float(np.mean(ranks)))


def _nearest(queries: Floats, rows: Floats) -> list[list[int]]:
    nearest: list[list[int]] = []
    matrix = np.asarray(rows, np.float32)
    for start in range(0, len(queries), 200):
        scores = queries[start : start + 200] @ matrix.T
        best = np.argpartition(-scores, 10, axis=1)[:, :10]
        order = np.take_along_axis(-scores, best, axis=1).argsort(axis=1, kind="stable")
        nearest += np.take_along_axis(best, order, axis=1).tolist()
    return nearest


def _cold(folders: dict[str, Path], work: Path, model: Path) -> list[list[object]]:
    ask = "encoder.encode('an editor for vector graphics')"
    codes = {
        name: (f"import vsearch; encoder = vsearch.encoders.load({str(folder)!r})", ask)
        for name, folder in folders.items()
    }
    if (work / "int8.onnx").exists():
        load = f"import onnxruntime, tokenizers; t = tokenizers.Tokenizer.from_file({str(model / 'tokenizer.json')!r})"
        load += f"; s = onnxruntime.InferenceSession({str(work / 'int8.onnx')!r})"
        run = "ids = numpy.array([t.encode('an editor for vector graphics').ids]); ones = numpy.ones_like(ids)"
        run += "; s.run(None, {'input_ids': ids, 'attention_mask': ones, 'token_type_ids': 0 * ones})"
        codes["onnxruntime int8"] = load, run
    seconds_of: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(9):
        for name, (load, encode) in codes.items():
            command = [sys.executable, "-c", COLD.format(load=load, encode=encode)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds_of[name].append(1e3 * float(done.stdout))
    return [[name, min(times), statistics.median(times)] for name, times in seconds_of.items()]


def _through_functions(
    args: argparse.Namespace, folders: dict[str, Path], base: Floats, texts: Sequence[str]
) -> list[str]:
    from bench.encoder_stack import measure

    queries = [text for length in _by_length(texts, folders["vsearch, 8 bits"])[1:2] for text in length]
    measurements = measure(args.work, np.asarray(base[:10_000], np.float32), folders, queries * 20, 200, 9)
    header = ("through the local FaaS, ms", "by vector", "a text takes more", "of the best", "of processor time")
    rows = [[one.name, one.vector, one.text, one.best, one.processor] for one in measurements]
    return [
        report.table(header, rows),
        (
            "A search of 10,000 rows by a coordinator alone, of the clock, seen by the client: medians; texts of 12 tokens and their vectors in turn. A cold "
            "function starts its process, reads index and, for texts, encoder from an S3 server on this machine."
        ),
    ]


if __name__ == "__main__":
    main()
