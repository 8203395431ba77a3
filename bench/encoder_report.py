"""The sections that benchmarks of text encoders write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bench import report
from bench.data import Data, Floats, Truth


def publish(
    results: Path,
    name: str,
    title: str,
    text: Iterable[str],
    *,
    folder: Path,
    base: Floats,
    queries: int,
    model: Path,
    packages: Sequence[str],
) -> None:
    """Replace the section of a benchmark on the data in a folder: `base`, and so many queries."""
    nothing = Truth(np.empty((0, 0), np.int64), np.empty((0, 0)))
    data = Data(folder.name, "cosine", base, np.empty((queries, base.shape[1])), nothing)
    parameters = {
        "model": "all-MiniLM-L6-v2" if "minilm" in str(model).lower() else model.name,
        "threads": 1,
        "versions": report.versions(packages),
    }
    report.replace(results, f"{name} {data.name}", report.section(title, data, text, parameters))
