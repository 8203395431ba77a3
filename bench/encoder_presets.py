"""Compressed encoders after training by each preset, beside the same sizes without training.

``python -m bench.encoder_presets FOLDER --model MODEL --work KEPT --relevance FOLDER``: the folders of `bench.encoder`. Training is
resumed from checkpoints in KEPT, which also keeps the encoders.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from bench import report
from bench.encoder import Quality, judge, nearest, relevance
from bench.encoder_peers import Engine, ours
from bench.encoder_report import publish
from bench.measure import threads

HEADER = (
    "encoder",
    "texts seen",
    "processor s",
    "MB",
    "of the bytes",
    "cosine",
    "1 % are below",
    "recall@10",
    "MRR@10",
    "of the MRR",
)
FLOAT = "float32"


@dataclass(frozen=True)
class Recipe:
    """A preset, and arguments of `vsearch.encoders.distill` besides it; the same sizes come from `compress` without training.

    Attributes
    ----------
    texts : int
        Texts that training sees.
    """

    preset: str
    texts: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The preset, and the number of layers if it is not the preset's."""
        layers = self.options.get("layers")
        if layers is None:
            return self.preset
        return f"{self.preset}, {f'{layers} layers' if isinstance(layers, int) else f'layers {_joined(layers)}'}"


def _joined(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


RECIPES = (
    Recipe("mkq4", 9_600),
    Recipe("mkq4", 24_000, {"layers": (0, 4, 5), "rate": 5e-4}),
    Recipe("xtc-ternary", 4_800, {"layers": 6}),
    Recipe("sdq8", 3_200),
    Recipe("xtc-ternary", 19_200, {"layers": (0, 4, 5)}),
)
UNTRAINED: dict[str, dict[str, Any]] = {
    "8 bits": {"bits": 8},
    "4 bits": {"bits": 4},
    "4 bits, layers 0, 4, 5": {"bits": 4, "layers": (0, 4, 5)},
    "ternary, table 4 bits": {"bits": {"weights": "ternary", "table": 4}},
    "ternary, table 4 bits, layers 0, 4, 5": {"bits": {"weights": "ternary", "table": 4}, "layers": (0, 4, 5)},
}
BATCH = 32
DEFINITIONS = 40_000  # texts of the index that are trained with


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.encoder_presets", description="Trained compressed encoders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sentence-transformers model")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps encoders and checkpoints")
    parser.add_argument(
        "--relevance", type=Path, required=True, help="folder with synopses and validation_positives.npy"
    )
    parser.add_argument("--skip", nargs="*", default=[], help="recipes, by name, that are left out")
    parser.add_argument("--texts", type=int, default=2000, help="queries that quality is measured on")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    import pyarrow.parquet as pq
    import torch

    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    base = np.load(args.folder / "base.npy", mmap_mode="r")
    texts = [text for text in pq.read_table(args.folder / "queries.parquet", columns=["qtext"])[0].to_pylist() if text]
    texts = texts[: args.texts]
    questions, relevant, rows = relevance(args.relevance)
    training = _training(args.folder, args.relevance, {*texts, *questions})
    with threads(1):
        made = {name: _compress(args, name, options, training[:256]) for name, options in UNTRAINED.items()}
        made |= {recipe.name: _distill(args, recipe, training) for recipe in RECIPES if recipe.name not in args.skip}
        asked = [*texts, *questions]
        by_text = dict(zip(asked, vsearch.encoders.load(args.model).encode(asked), strict=True))
        expected = np.stack([by_text[text] for text in texts])
        near = nearest(expected, base)
        size = (args.model / "model.safetensors").stat().st_size
        float_engine = Engine(FLOAT, by_text.__getitem__, size)
        lines, floats = [], None
        for engine in (float_engine, *ours({name: folder for name, (folder, _, _) in made.items()})):
            quality: Quality = judge(engine, texts, expected, near, base, questions, relevant, rows)
            floats = floats or quality
            _, seen, seconds = made.get(engine.name, (None, None, None))
            values = [quality.cosine, quality.worst, quality.recall, quality.mrr, quality.mrr / floats.mrr]
            sizes = [engine.model_bytes / 1e6, report.share(engine.model_bytes / size)]
            lines.append([engine.name, seen, seconds, *sizes, *map(report.share, values)])
    text = [
        report.table(HEADER, lines),
        (
            f"Batches of {BATCH} of {len(training):,} texts on one thread: definitions of the index without their words, and synopses that belong to other "
            "descriptions than the measured ones; none of them is a measured query. The targets are the model's vectors. Cosine and recall@10, "
            f"over {len(texts):,} definitions, are against the vectors of float32; MRR@10 is that of {len(questions):,} synopses against "
            f"{len(rows):,} descriptions." + (f" Left out: {'; '.join(args.skip)}." if args.skip else "")
        ),
    ]
    publish(
        args.results,
        "encoder presets",
        "Training of compressed encoders",
        text,
        folder=args.folder,
        base=base,
        queries=len(texts),
        model=args.model,
        packages=["vsearch", "numpy", "torch"],
    )


def _training(folder: Path, relevant: Path, measured: set[str]) -> list[str]:
    """Short texts like the measured queries: definitions and synopses, in random order."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    texts = pq.read_table(folder / "texts.parquet", columns=["text"])[0].to_pylist()
    definitions = [(texts[row] or "").partition(": ")[2] for row in rng.permutation(len(texts))[:DEFINITIONS]]
    synopses = pq.read_table(relevant / "attributes.parquet", columns=["synopsis"])[0].to_pylist()
    queries = [synopses[row] for row in np.load(relevant / "train_positives.npy").reshape(-1)]
    short = sorted({text for text in definitions + queries if text} - measured)
    return [short[row] for row in rng.permutation(len(short))]


def _compress(
    args: argparse.Namespace, name: str, options: dict[str, Any], texts: Sequence[str]
) -> tuple[Path, int, float]:
    return _kept(args, name, 0, lambda: vsearch.encoders.compress(args.model, texts, **options))


def _distill(args: argparse.Namespace, recipe: Recipe, texts: Sequence[str]) -> tuple[Path, int, float]:
    def make() -> Any:
        return vsearch.encoders.distill(
            args.model,
            texts,
            preset=recipe.preset,
            steps=recipe.texts // BATCH,
            batch=BATCH,
            checkpoint=args.work / f"{_file_name(recipe.name)}-{recipe.texts}.npz",
            progress=lambda stage, done, total: print(recipe.name, stage, done, total, flush=True),
            **recipe.options,
        )

    return _kept(args, recipe.name, recipe.texts, make)


def _kept(args: argparse.Namespace, name: str, seen: int, make: Any) -> tuple[Path, int, float]:
    """The folder of an encoder, the texts that training saw, and the processor time in seconds of making it; all are kept."""
    folder = args.work / f"preset-{_file_name(name)}-{seen}"
    timing = folder.with_suffix(".json")
    if not timing.exists():
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vsearch.VsearchWarning)  # what is lost is in the table
            make().save(folder)
        timing.write_text(json.dumps({"seconds": time.process_time() - begun}))
    return folder, seen, json.loads(timing.read_text())["seconds"]


def _file_name(name: str) -> str:
    return "-".join(name.replace(",", "").split())


if __name__ == "__main__":
    main()
