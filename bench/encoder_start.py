"""Start of compressed text encoders: the first vector in a fresh process, and texts through functions.

``python -m bench.encoder_start FOLDER --model MODEL --work KEPT``: the folders of `bench.encoder`, whose encoders it uses. ``--before``
adds the vsearch of another folder, which reads the same encoders, with kernels that were compiled from its sources.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import vsearch
from bench import report
from bench.data import Floats
from bench.encoder import USUAL, by_length, calibration_texts, compressed
from bench.encoder_report import publish
from bench.encoder_stack import measure
from bench.measure import threads

COLD = """
import sys, time
import numpy
begun, processor = time.perf_counter(), time.process_time()
{load}
{encode}
print(time.perf_counter() - begun, time.process_time() - processor)
"""
HEADER = ("process-cold, ms above NumPy", "best", "median", "processor time, best", "median")
STACK_HEADER = ("through the local FaaS, ms", "by vector", "a text takes more", "of the best", "of processor time")
ROUNDS = 15


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.encoder_start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sentence-transformers model")
    parser.add_argument("--work", type=Path, required=True, help="folder kept by bench.encoder")
    parser.add_argument("--before", type=Path, nargs=2, metavar=("FOLDER", "KERNELS"), help="another vsearch")
    parser.add_argument("--stack", action="store_true", help="also time texts through the local FaaS")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    base = np.load(args.folder / "base.npy", mmap_mode="r")
    texts = calibration_texts(args.folder)
    with threads(1):
        folders = {name: compressed(args.model, args.work, name, options, texts)[0] for name, options in USUAL.items()}
    text = [
        report.table(HEADER, _cold(folders, args)),
        (
            f"A fresh process from after the import of NumPy to the first vector, from local files; {ROUNDS} rounds, in each of which all took their turn. "
            "Kernels are compiled ahead of time, and Python's modules to bytecode, as in an installation."
        ),
        *(_through_functions(args.work, folders, base, texts) if args.stack else ()),
    ]
    publish(
        args.results,
        "encoder start",
        "Start of text encoders",
        text,
        folder=args.folder,
        base=base,
        queries=1,
        model=args.model,
        packages=["vsearch", "numpy", "onnxruntime"],
    )


def _cold(folders: dict[str, Path], args: argparse.Namespace) -> list[list[object]]:
    ask = "encoder.encode('an editor for vector graphics')"
    codes, environments = {}, {}
    packages = {"": (Path(vsearch.__file__).parents[1], os.environ.get("VSEARCH_KERNELS", ""))}
    if args.before:
        packages = {", before": tuple(args.before)} | packages
    for suffix, (package, kernels) in packages.items():
        compileall.compile_dir(package / "vsearch", quiet=1)
        for name, folder in folders.items():
            load = f"sys.path.insert(0, {str(package)!r}); import vsearch; encoder = vsearch.encoders.load({str(folder)!r})"
            codes[name + suffix], environments[name + suffix] = (load, ask), {"VSEARCH_KERNELS": str(kernels)}
    if (args.work / "int8.onnx").exists():
        tokenizer, model = args.model / "tokenizer.json", args.work / "int8.onnx"
        load = f"import onnxruntime, tokenizers; t = tokenizers.Tokenizer.from_file({str(tokenizer)!r})"
        load += f"; s = onnxruntime.InferenceSession({str(model)!r})"
        run = "ids = numpy.array([t.encode('an editor for vector graphics').ids]); ones = numpy.ones_like(ids)"
        run += "; s.run(None, {'input_ids': ids, 'attention_mask': ones, 'token_type_ids': 0 * ones})"
        codes["onnxruntime int8"], environments["onnxruntime int8"] = (load, run), {}
    seconds_of: dict[str, list[list[float]]] = {name: [] for name in codes}
    for _ in range(ROUNDS):
        for name, (load, encode) in codes.items():
            command = [sys.executable, "-c", COLD.format(load=load, encode=encode)]
            environment = os.environ | environments[name]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            seconds_of[name].append([1e3 * float(part) for part in done.stdout.split()])
    return [
        [name, *(summary(part) for part in zip(*seconds, strict=True) for summary in (min, statistics.median))]
        for name, seconds in seconds_of.items()
    ]


def _through_functions(work: Path, folders: dict[str, Path], base: Floats, texts: Sequence[str]) -> list[str]:
    queries = [text for length in by_length(texts, folders["vsearch, 8 bits"])[1:2] for text in length]
    measurements = measure(work, np.asarray(base[:10_000], np.float32), folders, queries * 20, 200, 9)
    rows = [[one.name, one.vector, one.text, one.best, one.processor] for one in measurements]
    return [
        report.table(STACK_HEADER, rows),
        (
            "A search of 10,000 rows by a coordinator alone, of the clock, seen by the client: medians; texts of 12 tokens and their vectors in turn, 200 warm and 9 cold. "
            "A cold function starts its process, reads index and, for texts, encoder from an S3 server on this machine."
        ),
    ]


if __name__ == "__main__":
    main()
