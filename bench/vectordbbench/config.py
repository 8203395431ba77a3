"""Settings of vsearch in VectorDBBench."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from vectordb_bench.backend.clients.api import DBCaseConfig, DBConfig, MetricType

METRICS = {MetricType.COSINE: "cosine", MetricType.L2: "l2", MetricType.IP: "ip", MetricType.DP: "ip"}


class VsearchConfig(DBConfig):
    """The folder of the index."""

    folder: str

    def to_dict(self) -> dict[str, Any]:
        return {"folder": self.folder}


class VsearchIndexConfig(BaseModel, DBCaseConfig):
    """Arguments of `vsearch.create`, and the recall to tune to with the neighbors it is tuned for; 1 scores all rows."""

    metric_type: MetricType | None = None
    bits: float = 1.0
    rerank: str = "int8"
    spill: bool = False
    recall: float = 0.95
    tuned_k: int = 100

    def parse_metric(self) -> str:
        metric = self.metric_type or MetricType.COSINE
        if metric not in METRICS:
            raise ValueError(f"metric_type must be one of {', '.join(METRICS)}, got {metric}")
        return METRICS[metric]

    def index_param(self) -> dict[str, Any]:
        return {"metric": self.parse_metric(), "bits": self.bits, "rerank": self.rerank, "spill": self.spill}

    def search_param(self) -> dict[str, Any]:
        return {"exact": self.recall >= 1}
