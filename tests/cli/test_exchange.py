"""Commands that export, import and draw."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest


def test_export_and_import(run, files, tmp_path):
    file, target = tmp_path / "rows.parquet", tmp_path / "again"
    done = run("export", files.index, file, "--json")
    assert done.json == {"file": str(file), "rows": 500}
    table = pq.read_table(file)
    assert run("import", "parquet", file, target).status == 0
    assert run("count", target, "--json").json == {"rows": 500}
    assert "rows in" in run("export", files.index, tmp_path / "ids.arrow", "--no-vectors").text
    assert "vector" in table.column_names


def test_mistakes_are_one_line(run, files, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    for arguments in (
        ("export", files.index, tmp_path / "rows.csv"),
        ("import", "floppy", "a", tmp_path / "b"),
        ("import", "faiss", tmp_path / "x.npy", tmp_path / "b"),
        ("import", "faiss", tmp_path / "nothing", tmp_path / "b"),
        ("import", "parquet", tmp_path / "x.npy", tmp_path / "b", "--table", "a"),
        ("plot", files.index, tmp_path / "a.gif"),
        ("plot", files.index, tmp_path / "nowhere" / "a.png"),
        ("plot", files.index, tmp_path / "a.png", "--what", "partitions", "--where", "a = 1"),
        ("tune", files.index, "--plot", tmp_path / "a.txt"),
    ):
        done = run(*arguments)
        assert done.status == 2, arguments
        assert done.errors.startswith("error: ")
        assert done.errors.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_pictures(run, files, tmp_path):
    pytest.importorskip("matplotlib")
    for what in ("recall", "selectivity", "partitions"):
        assert run("plot", files.index, tmp_path / f"{what}.png", "--what", what).status == 0
    assert run("tune", files.index, "--recall", "0.9", "--plot", tmp_path / "tuned.svg").status == 0
    assert (tmp_path / "recall.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "tuned.svg").stat().st_size > 1000
