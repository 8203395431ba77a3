"""verify, snapshots and prune."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def index(run, files, tmp_path: Path) -> Path:
    """An index with three snapshots."""
    target = tmp_path / "index"
    for _ in range(3):
        done = run("build", files.vectors, target, "--overwrite")
        assert done.status == 0, done.errors
    return target


@pytest.mark.slow
def test_verify(run, index: Path) -> None:
    report = run("verify", index, "--json")
    assert report.status == 0
    assert report.json["problems"] == []
    assert report.json["files"] > 0
    assert "all intact" in run("verify", index).text


def test_verify_names_the_damaged_file(run, files, tmp_path: Path) -> None:
    run("build", files.vectors, tmp_path)
    damaged = max((tmp_path / "segments").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.chmod(0o644)
    damaged.write_bytes(content)
    report = run("verify", tmp_path, "--json")
    assert report.status == 1
    assert [Path(one["path"]).name for one in report.json["problems"]] == [damaged.name]
    assert damaged.name in run("verify", tmp_path).text


@pytest.mark.slow
def test_snapshots_and_prune(run, index: Path) -> None:
    listed = run("snapshots", index, "--json").json
    assert len(listed) == 3
    assert run("snapshots", index).status == 0
    first = min(one["snapshot"] for one in listed)
    assert run("info", index, "--snapshot", first, "--json").json["snapshot"] == first

    assert run("prune", index, "--keep", 1, "--json").status == 0
    left = run("snapshots", index, "--json").json
    assert [one["snapshot"] for one in left] == [max(one["snapshot"] for one in listed)]
    assert run("info", index, "--snapshot", first).status == 2
    assert run("verify", index).status == 0


@pytest.mark.parametrize("command", ["info", "verify", "snapshots", "prune"])
def test_no_index_there(run, tmp_path: Path, command: str) -> None:
    done = run(command, tmp_path / "nothing")
    assert done.status == 2
    assert "nothing" in done.errors


@pytest.mark.slow
def test_prune_with_a_grace(run, index: Path) -> None:
    orphan = index / "segments" / "left-00000-codes.arrow"
    orphan.write_bytes(b"1")
    planned = run("prune", index, "--keep", 1, "--grace", "0", "--dry-run", "--json").json
    assert len(planned["snapshots"]) == 2
    assert len(run("snapshots", index, "--json").json) == 3
    assert run("prune", index, "--keep", 3, "--grace", "2h", "--json").json["young"] == 1
    assert orphan.exists()
    assert run("prune", index, "--keep", 3, "--grace", "0s").status == 0
    assert not orphan.exists()
    for wrong in ("-1", "soon", "1w", ""):
        done = run("prune", index, "--grace", wrong)
        assert done.status == 2
        assert "grace" in done.errors
