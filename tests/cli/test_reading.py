"""count, rows and facet."""

from __future__ import annotations

import vsearch


def test_count(run, files) -> None:
    assert run("count", files.index).text == "500\n"
    assert run("count", files.index, "--where", "price < 7", "--json").json == {"rows": 7}
    assert run("count", files.index, "--where", "nothing = 1").status == 2


def test_rows_page_by_page(run, files) -> None:
    asked = (
        "rows",
        files.index,
        "--where",
        "colour = 'red'",
        "--order",
        "price DESC",
        "--columns",
        "price,sku",
        "--limit",
        2,
    )
    first = run(*asked, "--json").json
    assert first == [{"id": id_, "price": id_, "sku": f"sku-{id_:04d}"} for id_ in (496, 492)]
    assert [row["id"] for row in run(*asked, "--after", 492, "--json").json] == [488, 484]
    assert "sku-0496" in run(*asked).text
    assert len(run("rows", files.index, "--json").json) == 20
    assert "no row matches" in run("rows", files.index, "--where", "price < 0").text
    refused = run(*asked, "--after", "x")
    assert refused.status == 2
    assert "ids of this index must be integers, got 'x'" in refused.errors


def test_facet(run, files) -> None:
    counted = run("facet", files.index, "colour", "--where", "price < 10", "--json").json
    expected = [("blue", 2), ("green", 3), ("red", 3), (None, 2)]
    assert {(one["value"], one["count"]) for one in counted} == set(expected)
    assert counted == vsearch.open(files.index).facet("colour", "price < 10").to_pylist()
    assert len(run("facet", files.index, "colour", "--limit", 1, "--json").json) == 1
    assert "green" in run("facet", files.index, "colour").text
    assert "no row matches" in run("facet", files.index, "colour", "--where", "price < 0").text
