"""The SDK's own client calls the tools, in memory and through the command on standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("mcp")

import mcp

import vsearch
from tests.indexes import clustered
from vsearch.integrations.mcp import make_server


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    rows = 120
    table = pa.table({
        "price": np.arange(rows), "color": [["red", "green", "blue"][row % 3] for row in range(rows)],
        "body": [f"word{row % 5} " + "long " * 1000 for row in range(rows)], "big": np.full(rows, 2**60 + 1),
    })  # fmt: skip
    return vsearch.build(clustered(rows, 8), tmp_path_factory.mktemp("mcp") / "i", table, partitions=4, text="body")


def talk(target, *calls):
    """Call tools one after the other; the texts and structures of the answers."""

    async def say():
        async with mcp.Client(target) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, arguments) for name, arguments in calls]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the SDK's streams
        return asyncio.run(say())


def call(index, name, **arguments):
    answer = talk(make_server(index), (name, arguments))[1][0]
    assert not answer.is_error, answer
    return answer.structured_content


def test_the_tools_and_how_filters_are_written(index):
    tools, _ = talk(make_server(index))
    by_name = {tool.name: tool for tool in tools}
    assert set(by_name) == {"search", "count", "schema", "get"}
    for name in ("search", "count"):
        described = str(by_name[name].input_schema["properties"]["where"])
        for word in ("BETWEEN", "$lt", "list_has_any", "single quotes"):
            assert word in described
    assert all(tool.description for tool in tools)
    assert by_name["search"].input_schema["properties"]["k"]["maximum"] == 100


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("count", {"filter": "price < 30"}),
        ("count", {"where": "price < 30", "limit": 3}),
        ("schema", {"table": "x"}),
        ("get", {"ids": [1], "id": 1}),
    ],
)
def test_arguments_that_a_tool_does_not_have_are_refused(index, name, arguments):
    tools, (answer,) = talk(make_server(index), (name, arguments))
    assert all(tool.input_schema["additionalProperties"] is False for tool in tools)
    assert answer.is_error
    assert f"{name} has no argument {list(arguments)[-1]!r}; it has " in answer.content[0].text


def test_answers_are_those_of_the_index(index):
    assert call(index, "count", where="price < 30 AND color = 'red'") == {"rows": 10}
    assert call(index, "count", where={"price": {"$lt": 30}}) == {"rows": 30}
    vector = clustered(1, 8, seed=5)[0]
    found = call(index, "search", vector=vector.tolist(), k=4, where="color <> 'red'", columns=["price"])["rows"]
    expected = index.search(vector, 4, "color <> 'red'", columns=["price"])
    assert [row["id"] for row in found] == expected.ids[0].tolist()
    assert [row["price"] for row in found] == expected.columns["price"].to_pylist()
    like = call(index, "search", like="7", k=3)["rows"]  # models write numbers as strings
    assert [row["id"] for row in like] == index.search_like([7], k=3).ids[0].tolist()
    assert 950 < len(like[0]["body"]) < 1010
    assert like[0]["big"] == str(2**60 + 1)
    words = call(index, "search", text="word3", k=5, columns=["price"])["rows"]
    assert [row["id"] for row in words] == index.search_text("word3", 5).ids[0].tolist()
    got = call(index, "get", ids=[5, "6", 10**6])["rows"]
    assert [row["id"] for row in got] == [5, 6]
    assert len(got[0]["body"]) > 4000


def test_the_schema(index):
    found = call(index, "schema")
    assert (found["rows"], found["ids"], found["search by"]) == (120, "integers", ["like", "vector", "text"])
    attributes = {each["name"]: each for each in found["attributes"]}
    assert (attributes["price"]["least"], attributes["price"]["greatest"]) == (0, 119)
    assert set(attributes["color"]["frequent values"]) == {"red", "green", "blue"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("search", {}, "exactly one"),
        ("search", {"like": 1, "text": "a"}, "exactly one"),
        ("search", {"like": "x"}, "integers"),
        ("search", {"vector": [1.0]}, "(queries, 8)"),
        ("search", {"like": 1, "k": 1000}, "100"),
        ("search", {"like": 1, "where": "pric = 3"}, "did you mean 'price'"),
        ("count", {"where": "price = 'a'"}, "price"),
        ("get", {"ids": []}, "at least 1"),
    ],
)
def test_the_model_is_told_what_was_wrong(index, name, arguments, message):
    answer = talk(make_server(index), (name, arguments))[1][0]
    assert answer.is_error
    assert message in answer.content[0].text


@pytest.mark.slow
def test_the_command_on_standard_input_and_output(index):
    command = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "vsearch.cli", "mcp", index.snapshot.store.url], env=dict(os.environ)
    )
    tools, (answer,) = talk(command, ("count", {"where": "price < 5"}))
    assert len(tools) == 4
    assert answer.structured_content == {"rows": 5}
