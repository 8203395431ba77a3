"""append, upsert, update, delete, optimize, tag and restore."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch

ROWS, DIMENSIONS = 60, 8


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexes of rows that are numbered, and of rows with names."""
    folder = tmp_path_factory.mktemp("changes")
    vectors = np.random.default_rng(1).standard_normal((ROWS, DIMENSIONS)).astype(np.float32)
    table = pa.table(
        {
            "price": pa.array(range(ROWS), pa.float64()),
            "code": [f"{row % 5:03d}" for row in range(ROWS)],
            "moment": pa.array([row * 10**15 for row in range(ROWS)], pa.timestamp("us", "UTC")),
            "tags": pa.array([["a", "b"][: row % 3] for row in range(ROWS)], pa.list_(pa.string())),
        }
    )
    vsearch.build(vectors, folder / "numbered", table)
    vsearch.build(vectors, folder / "named", table, [f"n{row}" for row in range(ROWS)])
    np.save(folder / "new.npy", vectors[:3] + 1)
    pq.write_table(table.slice(0, 3), folder / "new.parquet")
    (folder / "ids.txt").write_text("n1\nn2\nfresh\n")
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "place"))


def done(output: Any) -> Any:
    assert output.status == 0, output.errors
    return output.json


def test_append_numbers_rows_and_a_token_counts_once(run, folder: Path) -> None:
    command = ("append", folder / "numbered", folder / "new.npy", "--attributes", folder / "new.parquet")
    first = done(run(*command, "--token", "load-1", "--json"))
    assert first == {"snapshot": 2, "added": 3, "replaced": 0, "deleted": 0}
    assert done(run(*command, "--token", "load-1", "--json")) == first
    assert done(run("get", folder / "numbered", ROWS + 2, "--json"))[0]["code"] == "002"
    assert "added" in run(*command).text
    assert len(vsearch.open(folder / "numbered")) == ROWS + 6


def test_append_and_upsert_show_how_far_they_are(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr("vsearch.cli.output.progress", lambda: nullcontext(lambda *stage: told.append(stage)))
    monkeypatch.setattr("vsearch.live.inputs.BATCH_ROWS", 2)
    done(run("append", folder / "numbered", folder / "new.npy", "--json"))
    assert told == [("encode", 2, 3), ("encode", 3, 3)]
    done(run("upsert", folder / "named", folder / "new.npy", "--ids", folder / "ids.txt", "--json"))
    assert told[2:] == told[:2]


def test_upsert_replaces_and_adds(run, folder: Path) -> None:
    index = folder / "named"
    commit = done(run("upsert", index, folder / "new.npy", "--ids", folder / "ids.txt", "--json"))
    assert (commit["added"], commit["replaced"]) == (1, 2)
    refused = run("append", index, folder / "new.npy", "--ids", folder / "ids.txt")
    assert (refused.status, refused.errors.count("\n")) == (2, 1)
    assert "n1" in refused.errors


def test_update_takes_values_in_the_types_of_the_attributes(run, folder: Path) -> None:
    index = folder / "named"
    new = ("--set", "price=9.5", "--set", "code=007", "--set", 'tags=["x"]', "--set", "moment=2024-05-01T00:00:00Z")
    rehearsed = done(run("update", index, *new, "--where", "price < 4", "--dry-run", "--json"))
    assert rehearsed == {"snapshot": 1, "rows": 4, "sample": rehearsed["sample"]}
    assert sorted(rehearsed["sample"]) == ["n0", "n1", "n2", "n3"]
    assert done(run("update", index, *new, "--where", "price < 4", "--json"))["replaced"] == 4
    row = vsearch.open(index).get("n2").to_pylist()[0]
    assert (row["price"], row["code"], row["tags"], row["moment"].isoformat()[:10]) == (9.5, "007", ["x"], "2024-05-01")
    assert done(run("update", index, "--null", "price", "--ids", "n5,n6", "--json"))["replaced"] == 2
    assert vsearch.open(index).get("n5").to_pylist()[0]["price"] is None


def test_delete_rehearses_first(run, folder: Path) -> None:
    index = folder / "numbered"
    rehearsed = done(run("delete", index, "--where", "price >= 40", "--dry-run", "--json"))
    assert (rehearsed["rows"], len(rehearsed["sample"])) == (ROWS - 40, 10)
    assert all(one >= 40 for one in rehearsed["sample"])
    assert "nothing was changed" in run("delete", index, "--ids", "3,5,999", "--dry-run").text
    assert len(vsearch.open(index)) == ROWS
    assert done(run("delete", index, "--ids", "3,5,999", "--json"))["deleted"] == 2
    assert done(run("delete", index, "--where", "price >= 40", "--json"))["deleted"] == ROWS - 40


def test_changes(run, folder: Path) -> None:
    index = folder / "named"
    run("delete", index, "--ids", "n1,n2")
    assert run("changes", index, "--since", 1).text.splitlines() == [
        "snapshot 1 to 2",
        "added 0",
        "replaced 0",
        "deleted 2: n1, n2",
    ]
    found = done(run("changes", index, "--since", 1, "--json"))
    assert found == {"from_snapshot": 1, "to_snapshot": 2, "added": [], "replaced": [], "deleted": ["n1", "n2"]}
    assert "since must be" in run("changes", index, "--since", 3).errors


def test_optimize_tag_and_restore(run, folder: Path) -> None:
    index = folder / "numbered"
    assert done(run("tag", index, "full", "--snapshot", 1, "--json")) == {"tags": {"full": 1}}
    run("delete", index, "--where", "price >= 30")
    optimized = done(run("optimize", index, "--force", "--no-retune", "--json"))
    assert (optimized["merged"], optimized["split"]) == (1, 0)
    assert "nothing to do" in run("optimize", index, "--no-retune").text
    restored = done(run("restore", index, "--tag", "full", "--json"))
    assert (restored["restored"], restored["rows"]) == ("full", ROWS)
    assert "full" in run("tag", index).text
    assert done(run("prune", index, "--keep", 1, "--json"))["snapshots"] == []
    assert done(run("prune", index, "--keep", 1, "--older-than", "0s", "--json"))["kept"][0] == 1
    assert done(run("tag", index, "full", "--remove", "--json")) == {"tags": {}}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("update", "--where", "price < 4"), "--set"),
        (("update", "--set", "price", "--where", "price < 4"), "NAME=VALUE"),
        (("update", "--set", "price=cheap", "--where", "price < 4"), "double"),
        (("update", "--set", "tags=x", "--where", "price < 4"), "list"),
        (("update", "--set", "prize=1", "--where", "price < 4"), "prize"),
        (("update", "--set", "price=1", "--null", "price", "--ids", "1"), "twice"),
        (("delete",), "--where"),
        (("delete", "--ids", "1", "--where", "price < 4"), "--where"),
        (("delete", "--ids", "one"), "integers"),
        (("delete", "--where", ""), "empty"),
        (("delete", "--where", "{}"), "empty filter"),
        (("delete", "--where", "{}", "--dry-run"), "empty filter"),
        (("update", "--set", "price=1", "--where", '{"$and": [{}]}'), "empty filter"),
        (("delete", "--where", "prize < 4", "--dry-run"), "prize"),
        (("append", "nothing.npy"), "nothing.npy"),
        (("restore",), "--snapshot"),
        (("restore", "--tag", "nothing"), "nothing"),
        (("tag", "--remove"), "NAME"),
        (("prune", "--older-than", "soon"), "--older-than"),
        (("tag", "nothing", "--remove"), "nothing"),
        (("tag", "x", "--snapshot", "99"), "99"),
    ],
)
def test_a_mistake_is_one_line(run, built: Path, command: tuple[str, ...], said: str) -> None:
    refused = run(command[0], built / "numbered", *command[1:])
    assert refused.status == 2
    assert refused.errors.count("\n") == 1
    assert said in refused.errors
    assert vsearch.open(built / "numbered").info()["snapshot"] == 1
