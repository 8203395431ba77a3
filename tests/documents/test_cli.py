from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import vsearch
from vsearch.cli.app import app


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def folder(collection, tmp_path_factory):
    made = tmp_path_factory.mktemp("documents-cli")
    np.save(made / "vectors.npy", collection.vectors)
    np.save(made / "offsets.npy", collection.offsets)
    np.save(made / "saliency.npy", collection.saliency)
    np.save(made / "queries.npy", np.concatenate(collection.queries))
    np.save(made / "query_saliency.npy", np.concatenate([np.arange(len(q)) for q in collection.queries]))
    np.save(made / "single.npy", collection.vectors[:50])
    np.save(made / "query_offsets.npy", np.concatenate([[0], np.cumsum([len(q) for q in collection.queries])]))
    pq.write_table(collection.attributes, made / "attributes.parquet")
    done = invoke(
        "build", made / "vectors.npy", made / "index", "--documents", "--offsets", made / "offsets.npy",
        "--saliency", made / "saliency.npy", "--keep", 0.8, "--codebook", 64, "--residual-bits", 1, "--dimensions", 96,
        "--attributes", made / "attributes.parquet", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["documents"]["keep"] == 0.8
    assert json.loads(done.stdout)["dimensions"] == 96
    return made


@pytest.mark.slow
def test_search_of_documents(folder, collection) -> None:
    queries = [folder / "index", folder / "queries.npy", "--offsets", folder / "query_offsets.npy", "--k", 3]
    done = invoke("search", *queries, "--where", "year < 2005", "--columns", "year", "--json")
    assert done.exit_code == 0, done.stderr
    answers = json.loads(done.stdout)["queries"]
    assert len(answers) == len(collection.queries)
    assert all(len(answer["hits"]) == 3 and max(hit["year"] for hit in answer["hits"]) < 2005 for answer in answers)
    one = invoke("search", *queries, "--row", 2, "--candidates", "all")
    assert one.exit_code == 0, one.stderr
    page = json.loads(invoke("search", *queries, "--offset", 3, "--matches", "--json").stdout)["queries"]
    for first, next_ in zip(json.loads(invoke("search", *queries, "--json").stdout)["queries"], page, strict=True):
        assert not {hit["id"] for hit in first["hits"]} & {hit["id"] for hit in next_["hits"]}
        assert [hit["rank"] for hit in next_["hits"]] == [4, 5, 6]
        assert all(hit["matches"] for hit in next_["hits"])


def test_matches_of_pruned_queries(folder, collection) -> None:
    index, number = vsearch.open(folder / "index"), 2
    query = collection.queries[number]
    asked = ["search", folder / "index", folder / "queries.npy", "--offsets", folder / "query_offsets.npy", "--k", 2]
    pruned = ["--query-keep", 0.5, "--query-saliency", folder / "query_saliency.npy", "--matches"]
    done = invoke(*asked, "--row", number, *pruned, "--json")
    assert done.exit_code == 0, done.stderr
    hits = index.search_documents(query, 2, query_keep=0.5, query_saliency=np.arange(len(query)), matches=True)
    (answer,) = json.loads(done.stdout)["queries"]
    assert [hit["id"] for hit in answer["hits"]] == hits.ids[0].tolist()
    for rank, hit in enumerate(answer["hits"]):
        assert [match["vector"] for match in hit["matches"]] == hits.matches[0].places.tolist()
        assert [match["position"] for match in hit["matches"]] == hits.matches[0].positions[rank].tolist()
        np.testing.assert_allclose([match["score"] for match in hit["matches"]], hits.matches[0].scores[rank])
    assert len(hits.matches[0].places) == -(-len(query) // 2)
    assert invoke(*asked, *pruned).exit_code == 0


@pytest.mark.parametrize(
    ("index", "arguments", "message"),
    [
        ("index", ["--nprobe", 3], "--nprobe is not supported by an index of documents"),
        ("index", ["--query-keep", 0.5], "query_saliency"),
        ("index", ["--query-keep", 2], "query_keep must be"),
        ("index", ["--query-saliency", "vectors.npy"], "one number for each of"),
        ("index", ["--candidates", "some"], "got 'some'"),
        ("single", ["--matches"], "--matches requires an index of multi-vector documents"),
        ("single", ["--query-keep", 0.5], "--query-keep requires an index of multi-vector documents"),
    ],
)
def test_mistakes_of_a_search_are_one_line(folder, index, arguments, message, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    if index == "single":
        vsearch.build("single.npy", "single", overwrite=True)
    done = invoke("search", index, "queries.npy", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_info_tells_bytes_by_part(folder) -> None:
    done = invoke("info", folder / "index", "--json")
    parts = json.loads(done.stdout)["documents"]["bytes_per_document_by_part"]
    assert {"patch_codes", "patch_residuals", "patch_factors", "patch_positions", "candidates"} <= set(parts)
    assert invoke("info", folder / "index").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--offsets", "offsets.npy"], "--documents"),
        (["--documents", "--offsets", "offsets.npy", "--metric", "l2"], "--metric cannot be combined with --documents"),
        (["--documents", "--offsets", "offsets.npy", "--dry-run"], "--dry-run cannot be combined"),
        (["--documents"], "offsets"),
        (["--documents", "--offsets", "saliency.npy"], "offsets must be"),
    ],
)
def test_mistakes_are_one_line(folder, arguments, message, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    done = invoke("build", "vectors.npy", "other", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_documents_without_vectors_are_skipped(tmp_path):
    np.save(tmp_path / "vectors.npy", np.eye(6, dtype=np.float32))
    np.save(tmp_path / "offsets.npy", np.array([0, 2, 2, 5, 6]))
    arguments = (
        "build",
        tmp_path / "vectors.npy",
        tmp_path / "index",
        "--documents",
        "--offsets",
        tmp_path / "offsets.npy",
    )
    refused = invoke(*arguments, "--missing", "error")
    assert refused.exit_code == 2
    assert "document 1 is empty (offset 2 twice); remove it, or pass missing='skip'" in refused.stderr
    done = invoke(*arguments, "--missing", "skip", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["skipped"] == {"without vectors": 1}
    assert "1 document has no usable vectors (1 without vectors): 1; skipped" in done.stderr


def test_documents_are_appended(folder, collection, tmp_path) -> None:
    index = tmp_path / "index"
    vsearch.build_documents(collection.matrices()[:20], None, index, codebook=8, dimensions=16)
    np.save(tmp_path / "vectors.npy", collection.vectors[: collection.offsets[3]])
    np.save(tmp_path / "offsets.npy", collection.offsets[:4])
    done = invoke("append", index, tmp_path / "vectors.npy", "--offsets", tmp_path / "offsets.npy", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 3
    assert len(vsearch.open(index)) == 23
    refused = invoke("append", index, tmp_path / "vectors.npy")
    assert (refused.exit_code, "offsets" in refused.stderr) == (2, True)
