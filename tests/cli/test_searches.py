"""search, explain, recall, tune and get."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vsearch


def test_search_says_what_the_library_says(run, files) -> None:
    printed = run(
        "search", files.index, files.queries, "--k", 3, "--where", "price < 100", "--columns", "price,colour", "--json"
    ).json
    hits = vsearch.open(files.index).search(np.load(files.queries), k=3, where="price < 100")
    assert [[hit["id"] for hit in one["hits"]] for one in printed["queries"]] == hits.ids.tolist()
    assert all(hit["price"] < 100 for one in printed["queries"] for hit in one["hits"])
    assert set(printed["queries"][0]["hits"][0]) == {"rank", "id", "score", "price", "colour"}
    assert printed["stats"]["rows_scanned"] > 0


def test_search_prints_a_table(run, files) -> None:
    shown = run("search", files.index, files.queries, "--row", 1, "-k", 2, "--columns", "sku")
    assert shown.status == 0
    assert shown.text.count("sku-") == 2
    assert "rows_scanned" in shown.text


def test_query_in_json(run, files) -> None:
    vector = np.load(files.queries)[2]
    inline = run("search", files.index, json.dumps(vector.tolist()), "--exact", "--json").json["queries"]
    by_row = run("search", files.index, files.queries, "--row", 2, "--exact", "--json").json["queries"]
    assert inline == by_row


def test_condition_as_json_object(run, files) -> None:
    found = run("search", files.index, files.queries, "--where", '{"price": {"$lt": 5}}', "--json").json
    assert {hit["id"] for hit in found["queries"][0]["hits"]} == set(range(5))


def test_fewer_matches_than_k(run, files) -> None:
    nothing = run("search", files.index, files.queries, "--row", 0, "--where", "price < 0", "--json").json
    assert nothing["queries"][0]["hits"] == []
    assert "no row matches" in run("search", files.index, files.queries, "--where", "price < 0").text


def test_pages(run, files) -> None:
    asked = ("search", files.index, files.queries, "--row", 0, "--k", 2)
    found = [run(*asked, "--offset", offset, "--json").json["queries"][0]["hits"] for offset in (0, 2, 4)]
    assert len({hit["id"] for page in found for hit in page}) == 6
    assert [[hit["rank"] for hit in page] for page in found] == [[1, 2], [3, 4], [5, 6]]
    refused = run(*asked, "--offset", 999_999)
    assert refused.status == 2
    assert "offset + k at most 1000000" in refused.errors


def test_explain(run, files) -> None:
    arguments = ("explain", files.index, files.queries, "--row", 0, "--where", "colour = 'red'")
    assert "colour" in run(*arguments).text
    assert isinstance(run(*arguments, "--json").json, dict)


def test_recall(run, files) -> None:
    report = run("recall", files.index, "--k", 5, "--sample", 20, "--json").json
    assert 0.5 < report["recall"] <= 1
    assert report["queries"] == 20
    assert "recall" in run("recall", files.index, "--queries", files.queries, "--where", "price < 50").text


def test_recall_against_given_truth(run, files, tmp_path: Path) -> None:
    base, queries = np.load(files.vectors), np.load(files.queries)
    base = base / np.linalg.norm(base, axis=1, keepdims=True)
    truth = np.argsort(-(queries @ base.T), axis=1)[:, :10]
    np.save(tmp_path / "truth.npy", truth)
    from_npy = run("recall", files.index, "--queries", files.queries, "--truth", tmp_path / "truth.npy", "--json")
    assert from_npy.json["recall"] > 0.5
    np.hstack([np.full((4, 1), 10), truth]).astype("<i4").tofile(tmp_path / "truth.ivecs")
    from_ivecs = run("recall", files.index, "--queries", files.queries, "--truth", tmp_path / "truth.ivecs", "--json")
    assert from_ivecs.json["recall"] == from_npy.json["recall"]


@pytest.mark.slow
def test_tune(run, files, tmp_path: Path) -> None:
    index = tmp_path / "index"
    run("build", files.vectors, index)
    report = run("tune", index, "--recall", 0.9, "--k", 5, "--json")
    assert report.status == 0, report.errors
    assert run("recall", index, "--k", 5, "--json").json["recall"] > 0.8


def test_get(run, files) -> None:
    assert run("get", files.index, 3, 1, "--columns", "price,sku", "--json").json == [
        {"id": 3, "price": 3, "sku": "sku-0003"},
        {"id": 1, "price": 1, "sku": "sku-0001"},
    ]
    assert "sku-0003" in run("get", files.index, 3).text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("search", "{index}", "{queries}", "--where", "price <"), ""),
        (("search", "{index}", "{queries}", "--where", "weight < 3"), "weight"),
        (("search", "{index}", "{queries}", "--where", "price = 'cheap'"), "price"),
        (("search", "{index}", "{queries}", "--where", "{broken"), "JSON"),
        (("search", "{index}", "{queries}", "--columns", "weight"), "weight"),
        (("search", "{index}", "{queries}", "--row", "9"), "--row must be below"),
        (("search", "{index}", "missing.npy"), "missing.npy"),
        (("search", "{index}", "[1, 2"), "JSON"),
        (("search", "{index}", "[1, 2]"), "24"),
        (("search", "{index}", "{queries}", "--k", "0"), "--k"),
        (("search", "{index}", "{queries}", "--snapshot", "999"), "999"),
        (("search", "{index}/nowhere", "{queries}"), "nowhere"),
        (("search", "{index}", "{queries}", "--limit", "3"), "--limit"),
        (("get", "{index}", "seven"), "seven"),
        (("find",), "find"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_take_one_line_and_status_2(run, files, arguments: tuple[str, ...], complaint: str) -> None:
    filled = [one.replace("{index}", files.index).replace("{queries}", str(files.queries)) for one in arguments]
    done = run(*filled)
    assert done.status == 2
    assert done.text == ""
    assert done.errors.startswith("error: ")
    assert done.errors.count("\n") == 1
    assert complaint in done.errors
    assert "Traceback" not in done.errors


def test_vectors_and_words(run, files, tmp_path) -> None:
    url = str(tmp_path / "words")
    index = vsearch.open(files.index)
    built = run("build", files.vectors, url, "--attributes", files.attributes, "--text", "colour", "--json")
    assert built.status == 0, built.errors
    index = vsearch.open(url)
    colour = index.get([0], ["colour"]).column("colour")[0].as_py()
    asked = ("search", url, files.queries, "--row", 1, "--k", 4, "--words", colour)
    printed = run(*asked, "--fusion", "weighted", "--weights", "0.5,2", "--depth", 20, "--json").json
    query = np.load(files.queries)[1]
    hits = index.search(query, 4, text=colour, fusion="weighted", weights=(0.5, 2), depth=20)
    assert [hit["id"] for hit in printed["queries"][0]["hits"]] == hits.ids[0].tolist()
    by_leg = ("search", url, files.queries, "--row", 1, "--k", 4, "--leg", f"text={colour}")
    again = run(*by_leg, "--fusion", "weighted", "--weights", "0.5,2", "--depth", 20, "--json").json
    assert again["queries"] == printed["queries"]
    alone = run("search", url, "--leg", f'text=["{colour}"]', "--k", 4, "--json").json["queries"]
    assert [hit["id"] for hit in alone[0]["hits"]] == index.search_text(colour, 4).ids[0].tolist()
    for asked_leg, reason in [
        (("--leg", "text"), "--leg must be NAME=QUERY"),
        (("--leg", "text=a", "--words", "b"), "--words cannot be combined with --leg"),
        (("--leg", "nothing=1"), "leg must be one of text"),
        (("--leg", "text=a", "--depth", "20"), "depth requires query_vectors"),
    ]:
        assert reason in run("search", url, *asked_leg).errors
    for wrong, reason in [
        (("--weights", "a,b"), "two numbers"),
        (("--depth", "2"), "depth must be at least"),
        (("--min-score", "1"), "min_score cannot be combined"),
    ]:
        refused = run(*asked, *wrong)
        assert refused.status == 2
        assert reason in refused.errors
    assert "--fusion cannot be combined with --words" in run("search", url, "--words", "x", "--fusion", "rrf").errors
    assert "pass either QUERIES" in run("search", url).errors
