"""vsearch itself, through its public interface only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Absent, Predicate, Setting, Task, load, sweep

LOW = (0.8, 0.9, 0.93, 0.94, 0.9425, 0.945, 0.9475, 0.95, 0.96, 0.97)
HIGH = (0.9725, 0.975, 0.9775, 0.98, 0.985, 0.9875, 0.989, 0.99, 0.991, 0.9925, 0.995, 0.998)
TUNED = (*LOW, *HIGH)


def facade() -> Any:
    """The package ``vsearch``, or :class:`Absent` while it has no ``build``."""
    package = load("vsearch")
    try:
        package.build  # noqa: B018 - public names are imported at first use
    except (AttributeError, ImportError) as error:
        raise Absent(f"this vsearch has no build(): {error}") from error
    return package


@dataclass
class OursIndex:
    """An index on disk; every tuned recall has its own reader, over the same files."""

    url: Path
    index: Any
    recalls: tuple[float, ...]
    description: str
    bytes_per_vector: float
    code_bytes: float
    raw_bytes_per_vector: float
    exhaustive: bool = False
    k: int = 10
    _tuned: dict[float, Any] = field(default_factory=dict)

    def settings(self) -> Sequence[Setting]:
        if self.exhaustive:
            return [Setting({"exact": 1}, name="all rows")]
        probes = [Setting({"nprobe": n}) for n in sweep(int(self.index.info()["partitions"]))]
        for recall in self.recalls:
            if recall not in self._tuned:
                self._tuned[recall] = tuned(self.url, recall, self.k)
        return probes + [Setting({"recall": r}, name=f"tune({r:g})") for r in self.recalls]

    def configure(self, setting: Setting, where: Predicate | None = None) -> Search:
        index, arguments = self.index, dict[str, Any]()
        if "recall" in setting.values:
            index = self._tuned[setting.values["recall"]]
        elif "nprobe" in setting.values:
            arguments["nprobe"] = setting["nprobe"]
        if "exact" in setting.values:
            arguments["exact"] = True
        if where is not None and where.sql is not None:
            arguments["where"] = where.sql

        def search(queries: Floats, k: int) -> Rows:
            ids: Rows = index.search(queries, k=k, **arguments).ids
            return ids

        return search


@dataclass(frozen=True)
class Ours:
    """``exhaustive`` scans all rows with ``exact=True``: the estimator alone if rerank is None.

    ``spill`` keeps a copy of each row in a second partition.
    """

    bits: float = 1.0
    rerank: str | None = "int8"
    quantizer: str = "osq"
    tuned: tuple[float, ...] = TUNED
    exhaustive: bool = False
    spill: bool = False
    package: str = "vsearch"

    @property
    def name(self) -> str:
        return (
            f"vsearch-{self.quantizer}-{self.bits:g}"
            + (f"-{self.rerank}" if self.rerank else "")
            + ("-copies" if self.spill else "")
        )

    def build(self, task: Task) -> OursIndex:
        vsearch = facade()
        url = task.scratch / "index"
        index = vsearch.build(
            task.base,
            str(url),
            attributes=task.attributes,
            metric=task.metric,
            quantizer=self.quantizer,
            bits=self.bits,
            rerank=self.rerank,
            spill=self.spill,
        )
        info = index.info()
        parts = info["bytes_per_vector_by_part"]
        # Includes centroids, rotation and grids, as FAISS's figure does.
        size = float(info["bytes_per_vector"]) + float(parts["model"])
        raw = {"float32": 4.0, "float16": 2.0}.get(self.rerank or "", 0.0) * task.dimensions
        return OursIndex(
            url=url,
            index=index,
            recalls=self.tuned,
            description=f"vsearch {self.quantizer} {self.bits:g} bit, rerank {self.rerank or 'none'}{', copies' if self.spill else ''}",
            bytes_per_vector=size - raw,
            code_bytes=float(parts["codes"] + parts.get("rows", 0)),
            raw_bytes_per_vector=raw,
            exhaustive=self.exhaustive,
            k=task.k,
        )


def tuned(url: Path, recall: float, k: int) -> Any:
    """A separate reader with its own settings, since tune() stores its settings and the last call would win."""
    index = facade().open(str(url))
    index.tune(recall=recall, k=k)
    return index
