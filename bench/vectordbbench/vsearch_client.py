"""vsearch in VectorDBBench, through its public interface only; `bench/README.md` says where the files go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from vectordb_bench.backend.clients.api import VectorDB
from vectordb_bench.backend.filter import Filter, FilterOp
from vectordb_bench.backend.payload import PayloadProfile

import vsearch

from .config import VsearchIndexConfig

PAGE = 10_000  # rows of one search at most


class Vsearch(VectorDB):
    """An index in a folder: rows are appended in batches, `optimize` trains it again with all rows and tunes it."""

    name = "vsearch"
    thread_safe = True
    supported_filter_types = [FilterOp.NonFilter, FilterOp.NumGE, FilterOp.StrEqual]  # noqa: RUF012 - as in the base class

    def __init__(
        self,
        dim: int,
        db_config: dict[str, Any],
        db_case_config: VsearchIndexConfig,
        collection_name: str = "",  # noqa: ARG002 - a folder has one index
        drop_old: bool = False,
        with_scalar_labels: bool = False,
        **kwargs: Any,
    ) -> None:
        self.case_config = db_case_config
        self.folder = db_config["folder"]
        self.with_scalar_labels = with_scalar_labels
        self.tenants = list(kwargs.get("multitenant_tenant_labels") or ())
        self.where: Any = None
        self.index: Any = None
        if drop_old:
            shutil.rmtree(self.folder, ignore_errors=True)
        columns = {"id": "int64"}
        columns |= {"labels": "string"} if with_scalar_labels else {}
        columns |= {"tenant": "string"} if self.tenants else {}
        options = {"dimensions": dim, "ids": "int64", "attributes": columns, **db_case_config.index_param()}
        vsearch.open(self.folder, create=options)

    @contextmanager
    def init(self) -> Iterator[None]:
        self.index = vsearch.open(self.folder, refresh=1.0)
        try:
            yield
        finally:
            self.index = None

    def need_normalize_cosine(self) -> bool:
        return False

    @staticmethod
    def supports_payload_profile(payload_profile: PayloadProfile) -> bool:
        return payload_profile != PayloadProfile.TEXT

    def supports_multitenant(self) -> bool:
        return True

    def insert_embeddings(
        self,
        embeddings: list[list[float]],
        metadata: list[int],
        labels_data: list[str] | None = None,
        tenant_labels_data: list[str] | None = None,
        **kwargs: Any,  # noqa: ARG002 - of other clients
    ) -> tuple[int, Exception | None]:
        """Append rows, all or none of them."""
        columns: dict[str, list[Any]] = {"id": metadata}
        columns |= {"labels": labels_data} if self.with_scalar_labels and labels_data is not None else {}
        columns |= {"tenant": tenant_labels_data} if tenant_labels_data is not None else {}
        try:
            self.index.append(np.asarray(embeddings, np.float32), columns, np.asarray(metadata, np.int64))
        except vsearch.VsearchError as error:
            return 0, error
        return len(metadata), None

    def optimize(self, data_size: int | None = None) -> None:  # noqa: ARG002 - the index knows
        """Train partitions and codes with all rows, then tune."""
        self.index.retrain()
        if not self.case_config.search_param()["exact"]:
            self.index.tune(recall=self.case_config.recall, k=self.case_config.tuned_k)

    def prepare_filter(self, filters: Filter) -> None:
        if filters.type == FilterOp.NonFilter:
            self.where = None
        elif filters.type == FilterOp.NumGE:
            self.where = vsearch.col("id") >= filters.int_value
        elif filters.type == FilterOp.StrEqual:
            self.where = vsearch.col("labels") == filters.label_value
        else:
            raise ValueError(f"filters must be a number or label filter, got {filters}")

    def search_embedding(
        self,
        query: list[float],
        k: int = 100,
        payload_profile: PayloadProfile = PayloadProfile.IDS_ONLY,
        tenant: str | None = None,
    ) -> list[int]:
        where = self.where
        if tenant is not None:
            mine = vsearch.col("tenant") == tenant
            where = mine if where is None else mine & where
        options = self.case_config.search_param() | {
            "where": where,
            "columns": ["labels"] if payload_profile == PayloadProfile.SCALAR_LABEL else (),
            "vectors": payload_profile == PayloadProfile.VECTOR,
        }
        vector = np.asarray(query, np.float32)
        if k <= PAGE:
            pages = [self.index.search(vector, k, **options)]
        else:
            pages = self.index.search_pages(vector, k, **options)
        return [row for hits in pages for row in hits.ids[0].tolist() if row >= 0]
