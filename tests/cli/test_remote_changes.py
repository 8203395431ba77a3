"""append, upsert, update, delete and optimize on the URL of a stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack
from tests.fanout.test_changes import remote_of

D = 8
VECTORS = np.random.default_rng(1).standard_normal((60, D)).astype(np.float32)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stack:
    url = str(tmp_path / "index")
    columns = {"price": np.arange(60.0), "tags": [["a"]] * 60, "day": pa.array([1] * 60, pa.int32()).cast(pa.date32())}
    stack = Stack(url, vsearch.build(VECTORS, url, pa.table(columns), [f"n{i}" for i in range(60)]), VECTORS[:1])
    monkeypatch.setattr(vsearch, "open", lambda url, **options: remote_of(stack))
    np.save(tmp_path / "new.npy", VECTORS[:2])
    (tmp_path / "ids.txt").write_text("n1\nfresh\n")
    return stack


URL = "lambda://stack"


def test_changes(run, stack: Stack, tmp_path: Path) -> None:
    def json_of(*command: object) -> object:
        done = run(*command, "--json")
        assert done.status == 0, done.errors
        return done.json

    rows = (URL, tmp_path / "new.npy", "--ids", tmp_path / "ids.txt")
    assert json_of("upsert", *rows)["added"] == 1
    assert run("append", *rows).status != 0
    values = ("--set", "price=9.5", "--set", 'tags=["b", "c"]', "--set", "day=2020-01-02")
    assert json_of("update", URL, *values, "--where", "price < 10")["replaced"] == 9
    assert json_of("update", URL, "--null", "price", "--ids", "n20,n21", "--set", 'tags=["z"]')["replaced"] == 2
    assert json_of("delete", URL, "--ids", "n30,n31,nobody")["deleted"] == 2
    assert json_of("optimize", URL, "--force")["merged"] == 1
    stack.index.refresh()
    assert stack.index.get(["n2", "n20"], ["price", "tags"]).to_pylist() == [
        {"id": "n2", "price": 9.5, "tags": ["b", "c"]},
        {"id": "n20", "price": None, "tags": ["z"]},
    ]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("append", URL, "new.npy", "--ids", "ids.txt", "--offsets", "ids.txt"), "multi-vector documents"),
        (("update", URL, "--set", "nothing=3", "--where", "price < 3"), "no attribute column is named 'nothing'"),
        (("update", URL, "--set", "price=cheap", "--where", "price < 3"), "price must be double"),
        (("update", URL, "--set", "price=3", "--where", "price < 3", "--dry-run"), "--dry-run is not available"),
        (("delete", URL, "--where", "price < 3", "--dry-run"), "--dry-run is not available"),
        (("tag", URL), "not available through functions"),
    ],
)
def test_a_mistake_is_one_line(run, stack: Stack, tmp_path: Path, monkeypatch, command, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*command)
    assert done.status != 0
    assert said in done.errors
    assert len(done.errors.strip().splitlines()) == 1
