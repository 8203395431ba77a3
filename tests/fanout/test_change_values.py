"""Values of every type of attribute through the writer: as JSON and as Arrow, appended and updated, read back as they were
passed; and what does not fit is refused, not changed."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack
from tests.fanout.test_changes import KEY, KEYS, ask, copy_of, remote_of
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api as web

D = 16
N = 40
VECTORS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
IDS = [f"row {i}" for i in range(N)]
VALUES = {
    "flag": pa.array([True]),
    "whole": pa.array([2**62]),
    "unsigned": pa.array([2**64 - 1], pa.uint64()),
    "half": pa.array([np.float16(0.5)]),
    "single": pa.array([0.1], pa.float32()),
    "double": pa.array([0.1]),
    "price": pa.array([Decimal("1.25")], pa.decimal128(10, 2)),
    "word": pa.array(["é"]),
    "day": pa.array([dt.date(2020, 1, 31)]),
    "time": pa.array([1577836800000001]).cast(pa.timestamp("us", "UTC")),
    "exact_time": pa.array([1577836800000000123]).cast(pa.timestamp("ns", "UTC")),
    "words": pa.array([["a", None]]),
    "numbers": pa.array([[2**62, None]]),
    "doubles": pa.array([[0.1] * D]),  # as long as a vector
    "singles": pa.array([[0.1] * 40], pa.list_(pa.float32())),
    "halves": pa.array([[0.5]], pa.list_(pa.float16())),
}


@pytest.fixture(scope="module")
def built():
    """An index with an attribute of each type, all NULL but in one row."""
    url = f"memory://values-{uuid4().hex}/index"
    index = vsearch.build(VECTORS, url, ids=IDS, partitions=4)
    for name, values in VALUES.items():
        index.add_column(name, values.type)
    index.append(VECTORS[:1], pa.table(VALUES), ids=["sample"])  # no warning: no list is taken for a vector
    return index.snapshot.store


@pytest.fixture
def stack(built):
    url = copy_of(built)
    return Stack(url, vsearch.open(url), VECTORS[:1])


def stream(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def ask_arrow(stack, method, columns, query=""):
    return ask(stack, method, stream(pa.table(columns)), query, content_type="application/vnd.apache.arrow.stream")


def vector_column(count):
    return pa.array([[0.5] * D] * count, pa.list_(pa.float32(), D))


def stored(stack, ids, name):
    stack.index.refresh()
    return stack.index.get(ids, [name])[name].combine_chunks()


def answered(stack):
    """The sample row as an answer over HTTP has it."""
    body = {"vector": VECTORS[0].tolist(), "k": 2, "columns": list(VALUES)}
    keys = web.KeyHashes(search=KEYS.write)
    worker = stack.local.worker(stack.names.coordinator)
    reply = web.answer(worker, "POST", "/search", {"x-api-key": KEY}, json.dumps(body).encode(), keys, Deadline())
    return next(hit["columns"] for hit in reply[1]["hits"][0] if hit["id"] == "sample")


def test_values_are_written_as_answers_give_them(stack):
    row = answered(stack)
    status, reply = ask(stack, "POST", {"rows": [{"id": "new", "vector": [0.5] * D, "columns": row}]})
    assert status == 200, reply
    status, reply = ask(stack, "PATCH", {"ids": ["row 1"], "values": {name: [value] for name, value in row.items()}})
    assert status == 200, reply
    status, reply = ask(stack, "PATCH", {"where": "word IS NULL", "values": row})
    assert (status, reply["replaced"]) == (200, N - 1)
    for name in VALUES:
        sample, *others = stored(stack, ["sample", "new", "row 1", "row 2"], name)
        assert others == [sample] * 3, name


def test_values_are_written_as_arrow(stack):
    assert ask_arrow(stack, "POST", {"id": ["new"], "vector": vector_column(1)} | VALUES)[0] == 200
    status, reply = ask_arrow(stack, "PATCH", {"id": ["row 1"]} | VALUES)
    assert status == 200, reply
    remote = remote_of(stack)
    assert remote.append(VECTORS[:1], pa.table(VALUES), ["newer"]).added == 1
    assert remote.update(VALUES, ids=["row 2"]).replaced == 1
    assert remote.update({name: values[0] for name, values in VALUES.items()}, where="word IS NULL").replaced == N - 2
    for name in VALUES:
        sample, *others = stored(stack, ["sample", "new", "row 1", "newer", "row 2", "row 3"], name)
        assert others == [sample] * 5, name


def test_one_list_for_several_rows(stack):
    remote = remote_of(stack)
    for index in (remote, stack.index):
        index.update({"words": ["p", "q"], "double": [1, 2]}, ids=["row 1", "row 2"])
        assert stored(stack, ["row 1", "row 2"], "words").to_pylist() == [["p", "q"]] * 2
        assert stored(stack, ["row 1", "row 2"], "double").to_pylist() == [1, 2]
        index.update({"words": [["r"], None], "double": [3, 4]}, ids=["row 1", "row 2"])
        assert stored(stack, ["row 1", "row 2"], "words").to_pylist() == [["r"], None]


def test_an_index_opened_in_process_updates_the_same_values(stack):
    stack.index.update(VALUES, ids=["row 1"])
    stack.index.update({name: values[0] for name, values in VALUES.items()}, ids=["row 2"])
    stack.index.update({"unsigned": 2**64 - 1, "numbers": [2**62, None]}, where="word IS NULL")
    for name in VALUES:
        sample, *others = stored(stack, ["sample", "row 1", "row 2"], name)
        assert others == [sample] * 2, name
    assert stored(stack, ["row 3"], "unsigned").to_pylist() == [2**64 - 1]
    with pytest.raises(vsearch.InputError, match="'unsigned'"):
        stack.index.update({"unsigned": 2**64}, ids=["row 1"])
    with pytest.raises(vsearch.InputError):
        remote_of(stack).update({"unsigned": 2**64}, ids=["row 1"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("whole", [1.5, True, "1", 2**63, [1], 1e300]),
        ("unsigned", [-1, 2**64, 1.5]),
        ("half", [1e5, "x"]),
        ("single", [1e39, True]),
        ("double", [int("9" * 400), {}]),
        ("price", ["1.255", "NaN", "", True, 1e300, {}]),
        ("word", [1, ["a"], False]),
        ("day", ["0000-00-00", "2020-13-01", 5, "2020-01-01T00:00:00"]),
        ("time", [5, "", "soon", "2020-01-01T00:00:00.1234567Z", "2020-01-01T25:00:00"]),
        ("words", ["ab", [1], [["a"]], {}]),
        ("numbers", [[1.5], [True], ["1"], [2**63], 3]),
        ("singles", [[1e39], ["a"], 0.5]),
        ("halves", [[1e6]]),
    ],
)
def test_json_that_does_not_fit(stack, name, values):
    rows = [{"id": f"new {i}", "vector": [0.5] * D, "columns": {name: value}} for i, value in enumerate(values)]
    status, reply = ask(stack, "POST", {"rows": rows})
    assert (status, [fault["position"] for fault in reply["rows"]]) == (400, list(range(len(values))))
    status, reply = ask(stack, "PATCH", {"ids": IDS[: len(values)], "values": {name: values}})
    assert (status, [fault["position"] for fault in reply["rows"]]) == (400, list(range(len(values))))
    for value in values:
        assert ask(stack, "PATCH", {"where": "word IS NULL", "values": {name: value}})[0] == 400
    assert stack.index.refresh() is False


def test_json_of_another_form(stack):
    times = ["2020-01-02", "2020-01-02T00:00", "2020-01-02 00:00:00Z", "2020-01-02T02:00:00+02:00"]
    assert ask(stack, "PATCH", {"ids": IDS[:5], "values": {"time": [*times, None]}})[0] == 200
    assert stored(stack, IDS[:4], "time").to_pylist() == [dt.datetime(2020, 1, 2, tzinfo=dt.UTC)] * 4
    assert ask(stack, "PATCH", {"ids": IDS[:2], "values": {"whole": [3.0, None], "price": [1.5, 3]}})[0] == 200
    assert stored(stack, IDS[:2], "whole").to_pylist() == [3, None]
    assert stored(stack, IDS[:2], "price").to_pylist() == [Decimal("1.50"), Decimal("3.00")]


def test_a_value_under_two_names(stack):
    for body in (
        {"ids": ["row 1"], "values": {"whole": [1], "Whole": [2]}},
        {"where": "word IS NULL", "values": {"whole": 1, "WHOLE": 2}},
    ):
        assert ask(stack, "PATCH", body)[0] == 400


UUIDS = [UUID(int=1), UUID(int=2)]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("word", pa.array(["a", "b"]).cast(pa.string_view())),
        ("word", pa.array(["a", None]).dictionary_encode()),
        ("word", pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))),
        ("word", pa.array([uuid.bytes for uuid in UUIDS], pa.uuid())),
        ("words", pa.array([["a"], None], pa.list_(pa.string(), 1))),
        ("words", pa.array([["a"], []], pa.list_(pa.string_view()))),
        ("words", pa.array([["a"], [None]], pa.large_list(pa.dictionary(pa.int8(), pa.string())))),
        ("words", pa.array([[], [None]])),
        ("whole", pa.nulls(2)),
        ("time", pa.array([1, 2], pa.int64()).cast(pa.timestamp("s"))),
    ],
)
def test_arrow_types_that_a_build_takes(stack, name, column):
    status, reply = ask_arrow(stack, "POST", {"id": ["a", "b"], "vector": vector_column(2), name: column})
    assert status == 200, reply
    stack.index.refresh()
    stack.index.append(VECTORS[:2], pa.table({name: column}), ids=["c", "d"])
    new = stored(stack, ["a", "b", "c", "d"], name)
    assert new[:2] == new[2:]


@pytest.mark.parametrize(
    ("name", "column", "positions"),
    [
        ("time", pa.array([2**62, 1]).cast(pa.timestamp("s")), [0]),
        ("exact_time", pa.array([1, 2**40]).cast(pa.timestamp("s")), [1]),
        ("single", pa.array([1.0, 1e300]), [1]),
        ("half", pa.array([1e300, np.nan]), [0]),
        ("singles", pa.array([[1.0], [1e300]]), [1]),
        ("whole", pa.array([2**63, 1], pa.uint64()), [0]),
        ("whole", pa.array([True, False]), None),
        ("time", pa.array([1, 2], pa.duration("s")), None),
        ("word", pa.array([{"a": 1}] * 2), None),
        ("word", pa.array([1, 2]), None),
        ("word", pa.DictionaryArray.from_arrays(pa.array([0] * 2 * 10**4, pa.int16()), pa.array(["x" * 10**5])), None),
    ],
)
def test_arrow_that_does_not_fit(stack, name, column, positions):
    count = len(column)
    columns = {"id": [f"new {i}" for i in range(count)], "vector": vector_column(count), name: column}
    status, reply = ask_arrow(stack, "POST", columns)
    assert (status, reply["error"]) == (400, "refused" if positions is None else "bad rows")
    assert positions is None or [fault["position"] for fault in reply["rows"]] == positions
    del columns["vector"]
    assert ask_arrow(stack, "PATCH", columns)[0] == 400
    assert stack.index.refresh() is False


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(["a", "b"]).cast(pa.string_view()), ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([uuid.bytes for uuid in UUIDS], pa.uuid()), list(map(str, UUIDS))),
    ],
)
def test_arrow_ids_that_a_build_takes(stack, ids, expected):
    status, reply = ask_arrow(stack, "POST", {"id": ids, "vector": vector_column(2)})
    assert status == 200, reply
    assert ask_arrow(stack, "PATCH", {"id": ids, "whole": [1, 2]})[1]["replaced"] == 2
    assert stored(stack, expected, "whole").to_pylist() == [1, 2]
    assert ask_arrow(stack, "DELETE", {"id": ids})[1]["deleted"] == 2


@pytest.mark.parametrize("where", [{}, {"$and": [{}]}, {"$or": [{}, {"unsigned": 1}]}, {"$not": {}}, ""], ids=repr)
def test_an_empty_filter_is_refused(stack, where):
    remote, before = remote_of(stack), (len(stack.index), stack.index.info()["snapshot"])
    with pytest.raises(vsearch.PredicateError, match="empty"):
        remote.delete(where=where)
    with pytest.raises(vsearch.PredicateError, match="empty"):
        remote.update({"number": 1}, where=where)
    for method, more in (("DELETE", {}), ("PATCH", {"values": {"word": "x"}})):
        status, reply = ask(stack, method, {"where": where, **more})
        assert status == 400
        assert "empty" in reply["message"]
    assert ask(stack, "DELETE", {"where": where}, "dry_run=true")[0] == 400
    with pytest.raises(vsearch.InputError, match="sequence of ids"):
        remote.delete({"unsigned": 3})
    stack.index.refresh()
    assert (len(stack.index), stack.index.info()["snapshot"]) == before
    assert ask(stack, "DELETE", {"where": "true"})[1]["deleted"] == before[0]


def test_an_empty_body_is_refused(stack):
    before = len(stack.index)
    for body in (b"", b"{}", {"ids": None, "where": None}):
        assert ask(stack, "DELETE", body)[0] == 400
    assert ask(stack, "DELETE", b"", content_type="application/vnd.apache.arrow.stream")[0] == 400
    stack.index.refresh()
    assert len(stack.index) == before


class TestAttributesCalledIdAndVector:
    @pytest.fixture
    def stack(self):
        url = f"memory://values-{uuid4().hex}/index"
        columns = {"id": ["x"] * N, "vector": np.zeros(N, np.int64), "attribute.id": ["z"] * N}
        return Stack(url, vsearch.build(VECTORS, url, pa.table(columns), IDS, partitions=4), VECTORS[:1])

    def row(self, stack, id_):
        stack.index.refresh()
        hits = stack.index.search(VECTORS[:1], k=100, columns=["id", "vector", "attribute.id"], exact=True)
        return hits.columns.slice(hits.ids[0].tolist().index(id_), 1).to_pylist()[0]

    def test_through_remote_index(self, stack):
        remote = remote_of(stack)
        columns = pa.table({"id": ["row 1", "row 2"], "vector": [7, 8], "attribute.id": ["y"] * 2})
        assert remote.append(VECTORS[:2], columns, ids=["new 1", "new 2"]).added == 2
        assert self.row(stack, "new 2") == {"id": "row 2", "vector": 8, "attribute.id": "y"}
        assert remote.update({"id": "row 5"}, where="vector = 7").replaced == 1
        assert self.row(stack, "new 1") == {"id": "row 5", "vector": 7, "attribute.id": "y"}
        assert remote.update({"id": ["row 6"], "vector": [9], "attribute.id": ["q"]}, ids=["row 3"]).replaced == 1
        assert self.row(stack, "row 3") == {"id": "row 6", "vector": 9, "attribute.id": "q"}
        assert self.row(stack, "row 6") == {"id": "x", "vector": 0, "attribute.id": "z"}

    def test_over_http(self, stack):
        new = {"id": "new", "vector": [0.5] * D, "columns": {"id": "row 1", "vector": 5}}
        assert ask(stack, "POST", {"rows": [new]})[0] == 200
        assert self.row(stack, "new") == {"id": "row 1", "vector": 5, "attribute.id": None}
        assert ask(stack, "PATCH", {"ids": ["row 2"], "values": {"id": ["w"]}})[0] == 200
        columns = {"id": ["row 3"], "attribute.id": ["a"], "attribute.attribute.id": ["b"]}
        assert ask_arrow(stack, "PATCH", columns)[0] == 200
        assert self.row(stack, "row 2")["id"] == "w"
        assert self.row(stack, "row 3") == {"id": "a", "vector": 0, "attribute.id": "b"}
