"""Predict the size, memory and time of a build from the input's shape and a short probe of the machine."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np

from vsearch.building.encoding import CHUNK_ROWS
from vsearch.building.inputs.rows import InputArguments, open_inputs
from vsearch.building.partitioning import FLAT, ITERATIONS, check_counts, sample_rows
from vsearch.building.training import BuildOptions
from vsearch.cores import available_cores
from vsearch.errors import InputError
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.search.state.shard import RERANK_DTYPES
from vsearch.storage.snapshots import kinds
from vsearch.storage.stores.scratch import scratch_folder

INTERPRETER_BYTES = 350 << 20  # Python with NumPy, Arrow, faiss and the compiled kernels
SAMPLED_ROWS = 4096  # whose attributes are read

ENCODE_SECONDS = 6e-9  # per dimension of a row on one thread, as measured in 2026


@dataclass(frozen=True)
class BuildPlan:
    """Predicted size, memory and time of a build.

    Attributes
    ----------
    rows, dimensions, partitions, shards : int
    bytes_per_vector : dict
        Bytes by part; the encoded size of attributes is unknown in advance and is estimated from their size in memory.
    bytes_total : int
    peak_memory_bytes : int
    seconds : float
        From a probe of this machine; accurate to about a factor of two.
    """

    rows: int
    dimensions: int
    partitions: int
    shards: int
    bytes_per_vector: dict[str, float]
    bytes_total: int
    peak_memory_bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class PartForecast(Protocol):
    """Predicted bytes, memory and seconds of a part of a build, such as `vsearch.legs.protocol.LegForecast`."""

    @property
    def name(self) -> str:
        """Name of the part in `BuildPlan`."""

    @property
    def bytes_total(self) -> float:
        """Bytes of its files."""

    @property
    def memory_bytes(self) -> float:
        """Bytes of memory at its peak."""

    @property
    def seconds(self) -> float:
        """Time on one core."""


Forecast = Callable[[Any, int, int], PartForecast]
"""Takes the first attributes as an Arrow table, or None, and the numbers of rows and shards."""


def plan_build(
    embeddings: object, attributes: object | None = None, *, parts: Sequence[Forecast] = (), **arguments: Any
) -> BuildPlan:
    """Predict a build; takes the arguments of `vsearch.build`, of which only those of the codec affect the result.

    Parameters
    ----------
    parts : sequence of callables
        Forecasts of other parts.

    Raises
    ------
    InputError
        The input or an option is invalid.
    """
    known = {field.name for field in fields(BuildOptions)}
    for name in arguments:
        if name not in known | {"ids", "vectors", "id", "missing", "packed", "more", "ttl", "overwrite", "progress"}:
            accepted = ", ".join(sorted([*inspect.signature(BuildOptions).parameters, "legs", "sparse", "text"]))
            msg = f"plan does not accept {name!r}; it accepts {accepted}"
            raise InputError(msg)
    options = BuildOptions(**{name: value for name, value in arguments.items() if name in known})
    with scratch_folder() as scratch:
        names = {
            name: arguments[name] for name in ("ids", "vectors", "id", "missing", "packed", "more") if name in arguments
        }
        inputs = open_inputs(embeddings, InputArguments(attributes, **names), options.metric, scratch)
        n, d = inputs.vectors.rows, inputs.vectors.dimensions
        options = options.sized(d)
        attribute_bytes, first = 0.0, None
        if inputs.columns is not None:
            sampled = min(n, SAMPLED_ROWS)
            first = inputs.columns.read(0, sampled)
            unencoded = {name for part in parts for name in getattr(part, "unencoded", ())}
            for name, column in zip(first.column_names, first.columns, strict=True):  # exact, and for predicates
                attribute_bytes += (1 if name in unencoded else 2) * column.nbytes * (n / sampled)
        own_ids = inputs.ids.kind != "row"
    partitions, shards = check_counts(n, options.partitions, options.shards)
    forecast = options.specification(d).forecast(d)
    offsets = 4 * (options.metric == "l2" and (options.rerank is not None or forecast.scan != "cells"))
    sizes = {
        kinds.CODES: forecast.code_bytes * (1 + partitions * BLOCK / (2 * n)),
        kinds.ROWS: float(forecast.factor_bytes + 2 * (options.rerank is not None) + offsets),
        kinds.RERANK: float(d * np.dtype(RERANK_DTYPES[options.rerank]).itemsize) if options.rerank else 0.0,
        "copies": float(forecast.code_bytes * (1 + partitions * BLOCK / (2 * n)) + forecast.factor_bytes + 4 + offsets)
        if options.spill is True
        else 0.0,
        kinds.IDS: 8.0 if own_ids else 4.0,
        kinds.PARTITIONS: 28 * (1 + (options.spill is True)) * partitions / n,
        "model": 4 * (partitions * d + d * d + forecast.model_floats) / n,
        kinds.ATTRIBUTES: attribute_bytes / n,
    }
    others = [forecast(first, n, shards) for forecast in parts]
    sizes |= {other.name: other.bytes_total / n for other in others}
    per_vector = sum(sizes.values())
    sample = len(sample_rows(n, partitions, d, np.random.default_rng(0)))
    threads = available_cores()
    peak = INTERPRETER_BYTES + 2 * sample * 4 * d + 16 * n + per_vector * n / shards + 3 * threads * CHUNK_ROWS * 4 * d
    compared = 2 * partitions**0.5 if partitions >= FLAT else partitions  # with each row in a round of training
    peak += sum(other.memory_bytes for other in others)
    assigned = partitions + (partitions // shards if options.spill is True else 0)  # copies stay in their shard
    multiply_adds = d * (compared * sample * ITERATIONS + assigned * n + d * (n + sample))
    seconds = multiply_adds / _multiply_adds_per_second() + n * d * ENCODE_SECONDS / threads
    seconds += sum(other.seconds for other in others)
    return BuildPlan(
        rows=n,
        dimensions=d,
        partitions=partitions,
        shards=shards,
        bytes_per_vector={name: round(size, 2) for name, size in sizes.items() if size},
        bytes_total=round(per_vector * n),
        peak_memory_bytes=round(peak),
        seconds=round(seconds, 1),
    )


def _multiply_adds_per_second() -> float:
    """Measure how fast this machine multiplies matrices, with products of a few milliseconds."""
    a = np.ones((1024, 384), np.float32)
    b = np.ones((384, 1024), np.float32)
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        np.matmul(a, b)
        best = min(best, time.perf_counter() - start)
    return 1024 * 1024 * 384 / best
