from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from vsearch.cli.app import app

ROWS, DIMENSIONS = 500, 24


@dataclass(frozen=True)
class Files:
    """Input files of a small collection, and an index built from them by the command line."""

    vectors: Path
    attributes: Path
    queries: Path
    index: str


@dataclass(frozen=True)
class Output:
    status: int
    text: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


Run = Callable[..., Output]


def invoke(*arguments: object) -> Output:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Output(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def run() -> Run:
    return invoke


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    np.save(folder / "vectors.npy", rng.standard_normal((ROWS, DIMENSIONS)).astype(np.float32))
    np.save(folder / "queries.npy", rng.standard_normal((4, DIMENSIONS)).astype(np.float32))
    table = pa.table(
        {
            "price": pa.array(range(ROWS), pa.int64()),
            "colour": [("red", "green", "blue", None)[row % 4] for row in range(ROWS)],
            "sku": [f"sku-{row:04d}" for row in range(ROWS)],
        }
    )
    pq.write_table(table, folder / "attributes.parquet")
    made = Files(folder / "vectors.npy", folder / "attributes.parquet", folder / "queries.npy", str(folder / "index"))
    done = invoke("build", made.vectors, made.index, "--attributes", made.attributes, "--partitions", 8, "--json")
    assert done.status == 0, done.errors
    return made
