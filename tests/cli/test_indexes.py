"""build, info and datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch


def test_info_in_json_and_in_words(run, files) -> None:
    info = run("info", files.index, "--json").json
    assert info["rows"] == 500
    assert info["dimensions"] == 24
    assert info["bytes_per_vector"] > 0
    shown = run("info", files.index)
    assert shown.status == 0
    assert "bytes_per_vector" in shown.text


def test_build_prints_what_it_built(run, files, tmp_path: Path) -> None:
    done = run("build", files.vectors, tmp_path / "index", "--bits", "2", "--rerank", "none", "--json")
    assert done.status == 0, done.errors
    assert done.json == run("info", tmp_path / "index", "--json").json


def test_build_refuses_a_target_that_holds_an_index(run, files) -> None:
    done = run("build", files.vectors, files.index)
    assert done.status == 2
    assert done.errors.startswith("error: ")
    assert done.errors.count("\n") == 1


def test_build_overwrites_when_asked(run, files, tmp_path: Path) -> None:
    first = run("build", files.vectors, tmp_path, "--json")
    second = run("build", files.vectors, tmp_path, "--overwrite", "--json")
    assert (first.status, second.status) == (0, 0)
    assert second.json["snapshot"] > first.json["snapshot"]


def test_rows_that_expire(run, files, tmp_path: Path) -> None:
    attributes = tmp_path / "attributes.parquet"
    pq.write_table(pa.table({"until": pa.array([None, *range(1, 500)], pa.int64())}), attributes)
    given = ("build", files.vectors, tmp_path / "index", "--attributes", attributes, "--ttl")
    assert "until" in run(*given, "untill").errors
    assert run(*given, "until", "--dry-run", "--json").status == 0
    assert "--ttl cannot be combined with --documents" in run(*given, "until", "--documents").errors
    info = run(*given, "until", "--json").json
    assert (info["rows"], info["expired"], info["ttl"]) == (1, 499, "until")
    assert run("optimize", tmp_path / "index", "--json").json["expired"] == 499


def test_dry_run_writes_nothing(run, files, tmp_path: Path) -> None:
    target = tmp_path / "index"
    done = run("build", files.vectors, target, "--attributes", files.attributes, "--dry-run", "--json")
    assert done.status == 0, done.errors
    assert done.json["rows"] == 500
    assert done.json["bytes_total"] > 0
    assert done.json["peak_memory_bytes"] > 0
    assert not target.exists()
    assert "peak_memory" in run("build", files.vectors, target, "--dry-run").text


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tiny", "small", "balanced", "exact"])
def test_every_recipe_builds(run, files, tmp_path: Path, recipe: str) -> None:
    done = run("build", files.vectors, tmp_path / recipe, "--recipe", recipe, "--json")
    assert done.status == 0, done.errors


def test_options_win_over_the_recipe(run, files, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[build]\nmetric = 'l2'\nseed = 7\n", encoding="utf-8")
    done = run("build", files.vectors, tmp_path / "index", "--recipe", recipe, "--metric", "ip", "--json")
    assert done.json["metric"] == "ip"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("[build]\nbitz = 1\n", "bitz"), ("[bild]\n", "[build]"), ("= 3", "TOML")],
)
def test_bad_recipes_are_refused(run, files, tmp_path: Path, content: str, complaint: str) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(content, encoding="utf-8")
    done = run("build", files.vectors, tmp_path / "index", "--recipe", recipe)
    assert done.status == 2
    assert complaint in done.errors


def test_unknown_recipe_lists_those_there_are(run, files, tmp_path: Path) -> None:
    done = run("build", files.vectors, tmp_path / "index", "--recipe", "huge")
    assert done.status == 2
    assert "balanced" in done.errors


@pytest.mark.slow
def test_ids_from_a_column_a_text_file_and_an_array(run, files, tmp_path: Path) -> None:
    arguments = ("build", files.vectors, tmp_path / "a", "--attributes", files.attributes, "--ids", "sku")
    assert run(*arguments).status == 0
    found = run("get", tmp_path / "a", "sku-0007", "--columns", "price", "--json").json
    assert found == [{"id": "sku-0007", "price": 7}]

    (tmp_path / "ids.txt").write_text("\n".join(f"name {row}" for row in range(500)), encoding="utf-8")
    assert run("build", files.vectors, tmp_path / "b", "--ids", tmp_path / "ids.txt").status == 0

    np.save(tmp_path / "ids.npy", np.arange(500) + 1_000)
    assert run("build", files.vectors, tmp_path / "c", "--ids", tmp_path / "ids.npy").status == 0
    assert run("search", tmp_path / "c", files.queries, "--k", 1, "--json").json["queries"][0]["hits"][0]["id"] >= 1_000


def test_unknown_id_column(run, files, tmp_path: Path) -> None:
    done = run("build", files.vectors, tmp_path / "a", "--attributes", files.attributes, "--ids", "isbn")
    assert done.status == 2
    assert "isbn" in done.errors


def test_datasets(run, tmp_path: Path) -> None:
    assert run("datasets", "--json").json == [{"name": "wordnet-10k"}]
    assert "wordnet-10k" in run("datasets").text
    assert run("datasets", "wordnet-10k", "--json").json["rows"] == 10_000
    saved = run("datasets", "wordnet-10k", "--save", tmp_path, "--json").json
    assert all(Path(path).is_file() for path in saved["files"])
    assert np.load(tmp_path / "base.npy").shape == (10_000, 384)
    assert "Princeton" in (tmp_path / "LICENSE").read_text(encoding="utf-8")
    assert run("datasets", "glove").status == 2
    assert run("datasets", "--save", tmp_path).status == 2


def test_same_index_as_the_library(files) -> None:
    assert vsearch.open(files.index).info()["rows"] == 500


def test_one_file_is_enough(run, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    lists: list[list[float] | None] = vectors.tolist()
    lists[7] = None
    table = pa.table({"sku": [f"s{k}" for k in range(40)], "v": lists, "price": range(40), "odd": [{"a": b"1"}] * 40})
    pq.write_table(table, tmp_path / "p.parquet")
    options = ("--vectors", "v", "--id", "sku", "--missing", "skip")
    plan = run("build", tmp_path / "p.parquet", tmp_path / "index", *options, "--dry-run", "--json")
    assert (plan.status, plan.json["rows"]) == (0, 39)
    done = run("build", tmp_path / "p.parquet", tmp_path / "index", *options, "--json")
    assert done.status == 0, done.errors
    assert done.json["attributes"] == {"sku": "string", "price": "int64"}
    assert done.json["skipped"] == {"NULL": 1}
    lines = done.errors.splitlines()
    assert [line[:9] for line in lines] == ["warning: ", "warning: "]
    assert "left out of the attributes: odd" in done.errors
    assert "1 row has no usable vector (1 NULL): 's7'; skipped" in done.errors
    refused = run("build", tmp_path / "p.parquet", tmp_path / "other", "--id", "sku", "--columns", "price")
    assert refused.status == 2
    assert "1 row has no usable vector (1 NULL): 's7'; repair" in refused.errors
    chosen = run("build", tmp_path / "p.parquet", tmp_path / "other", *options, "--columns", "price", "--json")
    assert chosen.json["attributes"] == {"price": "int64"}


def test_packed_vectors(run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 4)).astype(np.uint8))
    done = run("build", tmp_path / "x.npy", tmp_path / "index", "--packed", "--json")
    assert done.json["dimensions"] == 32


def test_words_are_searched(run, files, tmp_path: Path) -> None:
    attributes = tmp_path / "attributes.parquet"
    pq.write_table(pa.table({"title": [f"number {i}" for i in range(500)], "body": ["even", "odd"] * 250}), attributes)
    given = ("build", files.vectors, tmp_path / "index", "--attributes", attributes)
    assert "--text must be NAME or NAME=WEIGHT" in run(*given, "--text", "title=x").errors
    predicted = run(*given, "--text", "title", "--dry-run", "--json").json
    assert predicted["bytes_per_vector"]["text"] > 0
    assert not (tmp_path / "index").exists()
    built = run(*given, "--text", "title=2", "--text", "body", "--json")
    assert {name: column["weight"] for name, column in built.json["text"].items()} == {"title": 2.0, "body": 1.0}
    assert built.json["bytes_per_vector_by_part"]["text"] > 0
    search = ("search", tmp_path / "index", "--words", "17 title:18", "--words", "+odd -number")
    found = run(*search, "--columns", "title", "--json").json["queries"]
    assert {hit["title"] for hit in found[0]["hits"]} == {"number 17", "number 18"}
    assert found[1]["hits"] == []
    assert "no row matches" in run(*search).text
    assert "--exact cannot be combined with --words" in run(*search, "--exact").errors
    assert "--nprobe cannot be combined with --words" in run(*search, "--nprobe", "3").errors
    assert "--words or --leg" in run("search", tmp_path / "index").errors
    assert "has no text columns" in run("search", files.index, "--words", "x").errors


def test_phrases_tokens_and_weights(run, files, tmp_path: Path) -> None:
    attributes = tmp_path / "attributes.parquet"
    columns = {
        "title": [f"number {i} of many" for i in range(500)],
        "tags": [["New York"], ["new", "york"]] * 250,
        "weights": pa.array([[(f"t{i % 7}", 1.0 + i % 2)] for i in range(500)], pa.map_(pa.string(), pa.float64())),
    }
    pq.write_table(pa.table(columns), attributes)
    given = ("build", files.vectors, tmp_path / "index", "--attributes", attributes)
    assert "--phrases requires --text or --tokens" in run(*given, "--phrases").errors
    assert "'title' in both" in run(*given, "--text", "title", "--tokens", "title=2").errors
    assert "--tokens must be NAME or NAME=WEIGHT" in run(*given, "--tokens", "tags=x").errors
    assert "must be the name of an attribute" in run(*given, "--sparse", "nothing").errors
    assert "--sparse cannot be combined" in run(*given, "--sparse", "weights", "--documents").errors
    built = run(*given, "--text", "title", "--tokens", "tags=2", "--phrases", "--sparse", "weights", "--json")
    assert built.status == 0, built.errors
    search = ("search", tmp_path / "index", "--k", 500, "--columns", "title,tags", "--json")

    def found(*asked):
        return run(*search, *asked).json["queries"][0]["hits"]

    assert [hit["title"] for hit in found("--words", '"number 17"')] == ["number 17 of many"]
    assert {tuple(hit["tags"]) for hit in found("--words", '{"tokens": ["New York"]}')} == {("New York",)}
    assert {hit["score"] for hit in found("--leg", 'sparse={"t3": 2.0}')} == {2.0, 4.0}
    assert "not a JSON object" in run(*search, "--words", '{"tokens": [').errors
