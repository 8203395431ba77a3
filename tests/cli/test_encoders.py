"""encoder compress, distill, info, evaluate and attach, and search --text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.encoders.models import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("red house\n\nsmall river, large stone\nsearch engine\n", encoding="utf-8")
    return write_model(tmp_path / "model")


def test_from_a_model_to_hits(run, model: Path, tmp_path: Path) -> None:
    texts, folder, url = tmp_path / "texts.txt", tmp_path / "encoder", str(tmp_path / "index")
    made = run("encoder", "compress", model, folder, "--texts", texts, "--bits", 4, "--table", 8, "--json").json
    assert (made["weight_bits"], made["table_bits"], made["texts"], made["dimensions"]) == (4, 8, 3, 64)
    assert run("encoder", "info", folder, "--json").json == made
    assert "worst_cosine" in run("encoder", "info", folder).text
    rows = vsearch.encoders.load(model).encode(["red house", "small river", "blue tree", "slow editor"])
    vsearch.build(np.repeat(rows, 10, axis=0), url)
    (tmp_path / "pairs.csv").write_text("query,id\nred house,0\nred house,1\nblue tree,20\n", encoding="utf-8")
    options = ("--texts", texts, "--model", model, "--index", url, "--pairs", tmp_path / "pairs.csv")
    measured = run("encoder", "evaluate", folder, *options, "--json").json
    assert (measured["texts"], measured["pairs"]) == (3, 2)
    assert measured["cosine"] > 0.95
    assert 0 <= measured["ranking"]["mrr"] <= 1
    shown = run("encoder", "evaluate", folder, *options).text
    assert all(name in shown for name in ("cosine to the model", "recall@10", "MRR@10", "nDCG@10"))
    attached = run("encoder", "attach", url, folder, "--json").json
    assert attached["snapshot"] == vsearch.open(url).snapshot.manifest.snapshot
    found = run("search", url, "--text", "blue tree", "--text", "red house", "-k", 1, "--json").json["queries"]
    assert [one["hits"][0]["id"] // 10 for one in found] == [2, 0]


def test_smaller_encoders(run, model: Path, tmp_path: Path) -> None:
    options = ("--texts", tmp_path / "texts.txt", "--json")
    made = run("encoder", "compress", model, tmp_path / "a", *options, "--bits", "auto", "--quality", 0.8).json
    assert made["cosine"] >= 0.8
    assert {*made["sensitivity"]} == {*made["product_bits"], "table"}
    assert run("encoder", "info", tmp_path / "a", "--json").json == made
    made = run("encoder", "compress", model, tmp_path / "b", *options, "--bits", "ternary", "--layers", 1).json
    assert (made["weight_bits"], made["table_bits"], len(made["layers"])) == ("ternary", "ternary", 1)
    pruned = ("--layers", "0,1", "--vocabulary", 100)
    warned = run("encoder", "compress", model, tmp_path / "c", *options[:2], *pruned)
    assert "11 tokens were dropped" in warned.errors
    assert "pass holdout" in warned.errors
    assert run("encoder", "compress", model, tmp_path / "c", *options[:2], *pruned, "--holdout", options[1]).status == 0
    made = run("encoder", "info", tmp_path / "c", "--json").json
    assert (made["layers"], made["tokens"]) == ([0, 1], 100)


def test_mistakes(run, files, model: Path, tmp_path: Path) -> None:
    for arguments, reason in [
        (("encoder", "info", model), "uncompressed"),
        (("encoder", "compress", model, tmp_path / "out", "--texts", tmp_path / "none"), "no such file"),
        (("encoder", "compress", model, tmp_path / "out", "--texts", tmp_path / "texts.txt", "--bits", 5), "got 5"),
        (
            ("encoder", "compress", model, tmp_path / "out", "--texts", tmp_path / "texts.txt", "--layers", "a"),
            "--layers must be",
        ),
        (("encoder", "evaluate", model, "--texts", tmp_path / "texts.txt"), "pass --model"),
        (
            ("encoder", "evaluate", model, "--texts", tmp_path / "texts.txt", "--pairs", files.attributes),
            "query and id",
        ),
        (("search", files.index, "--text", "a"), "has no query encoder"),
        (("search", files.index), "either QUERIES"),
        (("search", files.index, files.queries, "--text", "a"), "either QUERIES"),
        (("search", files.index, "--text", "a", "--row", 1), "--row requires a file"),
    ]:
        done = run(*arguments)
        assert done.status == 2, arguments
        assert reason in done.errors


def test_an_index_of_texts(run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bodies.csv").write_text("name,body\na,red house\nb,small river\nc,blue tree\n", encoding="utf-8")
    url = str(tmp_path / "texts-index")
    options = ("--text-column", "body", "--encoder", model)
    assert run("build", tmp_path / "bodies.csv", url, *options, "--id", "name", "--json").json["rows"] == 3
    assert run("search", url, "--text", "blue tree", "-k", 1, "--json").json["queries"][0]["hits"][0]["id"] == "c"
    for wrong, reason in ((("--dry-run",), "--dry-run"), (("--documents",), "--documents")):
        done = run("build", tmp_path / "bodies.csv", url, *options, *wrong)
        assert done.status == 2
        assert f"--text-column cannot be combined with {reason}" in done.errors


def test_training(run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    options = ("--texts", tmp_path / "texts.txt", "--steps", 2, "--batch", 2, "--layers", "1")
    made = run("encoder", "distill", model, tmp_path / "trained", *options, "--preset", "mkq4", "--json").json
    assert (made["preset"], made["steps"], made["layers"], made["weight_bits"]) == ("mkq4", 2, [1], 4)
    assert run("encoder", "info", tmp_path / "trained", "--json").json == made
    refused = run("encoder", "distill", model, tmp_path / "trained", *options, "--preset", "none")
    assert refused.status != 0
    assert "sdq8, mkq4, xtc-ternary" in refused.errors
