"""Rows of other libraries come in with ids, vectors and attributes, from what these libraries themselves wrote."""

from __future__ import annotations

import datetime as dt
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.integrations.imports.importing import READERS, import_index, open_source
from vsearch.integrations.imports.source import Columns

ROWS, WIDTH = 40, 8
VECTORS = clustered(ROWS, WIDTH)
DUMP = r'''--
-- PostgreSQL database dump
--
CREATE TABLE public.items (
    id bigint NOT NULL,
    "a ""name""" text,
    price double precision DEFAULT 0,
    amount numeric(10,2),
    sold boolean,
    embedding public.vector(3),
    added timestamp without time zone,
    tags text[]
);


CREATE TABLE public.other (
    x integer
);
COPY public.other (x) FROM stdin;
1
\.


COPY public.items (id, "a ""name""", price, amount, sold, embedding, added, tags) FROM stdin;
7	tab\there, line\nbreak, back\\slash	1.5	2.25	t	[1,2,3.5]	2026-01-02 03:04:05	{a,b}
9	\N	\N	\N	f	[0,-1e-3,2]	\N	\N
8	none	0	0	\N	\N	\N	\N
\.

SELECT 1;
'''


def table_of(kind, path, **options):
    return open_source(kind, str(path), **options).reader().read_all()


def test_a_dump_of_pgvector(tmp_path):
    (tmp_path / "dump.sql").write_text(DUMP)
    table = table_of("pgvector", tmp_path / "dump.sql", table="items")
    assert table.schema.field("price").type == pa.float64()
    rows = table.to_pylist()
    assert rows[0] == {
        "id": 7, "vector": [1.0, 2.0, 3.5], 'a "name"': "tab\there, line\nbreak, back\\slash", "price": 1.5, "amount": 2.25,
        "sold": True, "added": "2026-01-02 03:04:05", "tags": "{a,b}",
    }  # fmt: skip
    assert (len(rows), rows[1]["id"], rows[1]["sold"], rows[1]["price"]) == (2, 9, False, None)  # no vector, no row
    made = import_index("pgvector", str(tmp_path / "dump.sql"), str(tmp_path / "i"), table="public.items", metric="l2")
    assert made.count("price > 1 AND sold") == 1
    assert made.search([1, 2, 3.5], 1).ids.tolist() == [[7]]


def test_a_copy_without_types(tmp_path):
    (tmp_path / "d").write_text("COPY t (name, v) FROM stdin;\na\t[1,2]\nb\t[3,4]\n\\.\n")
    table = table_of("pgvector", tmp_path / "d")
    assert table.to_pylist() == [
        {"id": 0, "vector": [1.0, 2.0], "name": "a"},
        {"id": 1, "vector": [3.0, 4.0], "name": "b"},
    ]
    assert table_of("pgvector", tmp_path / "d", id="name")["id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "none with COPY"),
        (DUMP, "name one table"),
        ("COPY t (v) FROM stdin;\n[1,2]\n", "no end"),
        ("COPY t (v) FROM stdin;\n[1,2]\n[1]\n\\.\n", "not a vector of 2"),
        ("COPY t (v) FROM stdin;\n[1,2]\nx\ty\n\\.\n", "2 columns, not 1"),
        ("COPY t (v) FROM stdin;\n[1,a]\n\\.\n", "not a vector"),
        ("COPY t (v) FROM stdin;\n\\.\n", "column of vectors"),
        ("CREATE TABLE t (\n    v vector(1),\n    n integer\n);\nCOPY t (v, n) FROM stdin;\n[1]\tx\n\\.\n", "type of its column"),
        ("CREATE TABLE t (\n    v vector(1),\n    n bigint\n);\nCOPY t (v, n) FROM stdin;\n[1]\t9223372036854775808\n\\.\n", "'n'.*int64"),
        ("CREATE TABLE t (\n    v vector(1),\n    id bigint\n);\nCOPY t (v, id) FROM stdin;\n[1]\t9223372036854775808\n\\.\n", "'id'.*int64"),
        ("COPY t (v) FROM stdin;\n[" + "1," * 70_000 + "1]\n\\.\n", "at most 65536"),
        ("COPY t (" + "a, " * 3000 + "b) FROM stdin;\n\\.\n", "at most 2000"),
    ],
)  # fmt: skip
def test_damaged_dumps_are_refused(tmp_path, text, message):
    (tmp_path / "d").write_text(text)
    with pytest.raises(vsearch.InputError, match=message):
        table_of("pgvector", tmp_path / "d")


def test_names_and_types_with_commas(tmp_path):
    """The search for the end of a type takes time that grows with the length of the line, not with its square."""
    head = 'CREATE TABLE t (\n    "a, ""b""" integer DEFAULT 5 NOT NULL,\n    c numeric(10,2) DEFAULT 1.5,\n    d text DEFAULT \'x.vector,\',\n'
    odd = "    e " + "(x)" * 1_000_000 + ",f\n" + "    f " + "(" * 1_000_000 + "\n"
    rows = 'COPY t (v, "a, ""b""", c, d) FROM stdin;\n[1,2]\t7\t2.5\tx\n\\.\n'
    (tmp_path / "d").write_text(f"{head}{odd}    v halfvec(2)\n);\n{rows}")
    table = table_of("pgvector", tmp_path / "d")
    assert table.drop(["id"]).to_pylist() == [{"vector": [1.0, 2.0], 'a, "b"': 7, "c": 2.5, "d": "x"}]


def test_a_line_without_end(tmp_path, monkeypatch):
    from vsearch.integrations.imports import pgvector

    monkeypatch.setattr(pgvector, "LONGEST_LINE", 100)
    (tmp_path / "d").write_text("x" * 1000)
    with pytest.raises(vsearch.InputError, match="more than 100"):
        table_of("pgvector", tmp_path / "d")
    (tmp_path / "d").write_bytes(b"PGDMP\xff\xfe\x00")
    with pytest.raises(vsearch.InputError, match="UTF-8"):
        table_of("pgvector", tmp_path / "d")


def test_embeddings_in_parquet(tmp_path):
    for part in range(2):
        rows = slice(part * 20, part * 20 + 20)
        table = pa.table({
            "_id": [f"doc{row}" for row in range(rows.start, rows.stop)], "text": ["a"] * 20, "vector": ["not a vector"] * 20,
            "emb": pa.array(list(VECTORS[rows].astype(np.float64))), "ids": pa.array([[1, 2]] * 20),
        })  # fmt: skip
        pq.write_table(table, tmp_path / f"train-{part}.parquet")
    for path in (tmp_path, tmp_path / "train-*.parquet"):
        table = table_of("parquet", path, id="_id")
        assert table.column_names == ["id", "vector", "text", "attribute.vector", "ids"]
        assert table["id"].to_pylist() == [f"doc{row}" for row in range(40)]
    assert table_of("parquet", tmp_path)["id"].to_pylist() == list(range(40))
    made = import_index("parquet", str(tmp_path), str(tmp_path / "i"), id="_id", metric="l2")
    assert made.search(VECTORS[7], 1).ids.tolist() == [["doc7"]]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "train-2.parquet")
    with pytest.raises(vsearch.InputError, match="other columns"):
        table_of("parquet", tmp_path)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [[1.0]], "b": [[1.0]]}, {}, "there are a, b"),
        ({"a": [1.0]}, {}, "there are none"),
        ({"a": [[1.0]]}, {"vector": "b"}, "no column of vectors 'b'"),
        ({"a": [[1.0]]}, {"id": "b"}, "no column 'b'"),
        ({"a": [[1.0]]}, {"table": "b"}, "has no table"),
        ([("a", [[1.0]]), ("a", [[1.0]])], {"vector": "a"}, "several columns are named 'a'"),
        ([("a", [[1.0]]), ("b", [1]), ("b", [1])], {}, "several columns are named 'b'"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, columns, options, message):
    named = list(columns.items()) if isinstance(columns, dict) else columns
    table = pa.Table.from_arrays([pa.array(values) for _, values in named], [name for name, _ in named])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(vsearch.InputError, match=message):
        table_of("parquet", tmp_path / "a.parquet", **options)
    (tmp_path / "b.parquet").write_bytes(b"PAR1" + b"\xff" * 50)
    with pytest.raises(vsearch.InputError, match="not a Parquet file"):
        table_of("parquet", tmp_path / "b.parquet")


@pytest.mark.parametrize("kind", READERS)
def test_sources_that_are_not_there(tmp_path, kind):
    with pytest.raises((vsearch.InputError, vsearch.MissingDependencyError)):
        table_of(kind, tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []  # other libraries would begin an empty database
    with pytest.raises(vsearch.InputError, match="the kind of a source must be"):
        open_source("floppy", "a")


def columns_of(values):
    columns = Columns()
    for value in values:
        columns.see({"a": value})
    (field,), (array,) = columns.fields(), columns.arrays([{"a": value} for value in values])
    return str(field.type), array.to_pylist()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 0.5], "double"),
        ([2**60 + 1, 3], "int64"),
        ([[1], [0.5], [], None], "list<item: double>"),
        ([[2**60 + 1], [3]], "list<item: int64>"),
        ([[], None], "list<item: string>"),
        ([["a"], []], "list<item: string>"),
    ],
)
def test_types_of_attributes(values, kind):
    assert columns_of(values) == (kind, values)


@pytest.mark.parametrize(
    "values", [[2**60 + 1, 0.5], [[2**60 + 1], [0.5]], [[2**60 + 1, 0.5]], [2**70, 1], [True, 1], [["a"], "a"], [[[1]]]]
)
def test_attributes_of_several_types_lose_nothing(values):
    with pytest.warns(vsearch.VsearchWarning, match="become text as JSON: a"):
        kind, made = columns_of(values)
    assert (kind, [json.loads(text) for text in made]) == ("string", values)


@pytest.mark.filterwarnings("ignore::vsearch.VsearchWarning")
def test_texts_that_are_not_unicode():
    for value in ("\ud800", {"a": "\ud800"}, ["\ud800"]):
        with pytest.raises(vsearch.InputError, match="column 'a'"):
            columns_of([value])
    with pytest.raises(vsearch.InputError, match="name of an attribute"):
        Columns().see({"\ud800": 1})


METADATA = [
    {"price": row, "mixed": "a" if row % 2 else 3, "rate": 0.5 if row else 1, "flag": row % 3 == 0, "deep": {"a": [row]}, "words": ["a", f"b{row}"]}
    for row in range(ROWS)
]  # fmt: skip


def damaged(folder, seed):
    """Damage a random file: cut it off, change bytes, or leave it empty."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    file = files[rng.integers(len(files))]
    data = bytearray(file.read_bytes())
    if seed % 4 == 0:
        data = data[: rng.integers(len(data))]
    elif seed % 4 == 1:
        data = bytearray()
    for at in rng.integers(0, len(data), 8 if data else 0):
        data[at] ^= int(rng.integers(1, 256))
    file.write_bytes(data)


def make_chroma(folder):
    client = pytest.importorskip("chromadb").PersistentClient(str(folder))
    client.create_collection("items").add([f"id{row}" for row in range(ROWS)], VECTORS)


def make_qdrant(folder):
    qdrant = pytest.importorskip("qdrant_client")
    client = qdrant.QdrantClient(path=str(folder))
    client.create_collection("items", qdrant.models.VectorParams(size=WIDTH, distance=qdrant.models.Distance.EUCLID))
    client.upsert("items", [qdrant.models.PointStruct(id=row, vector=VECTORS[row].tolist()) for row in range(ROWS)])
    client.close()


def make_lancedb(folder):
    vectors = pa.array(list(VECTORS), pa.list_(pa.float32(), WIDTH))
    pytest.importorskip("lancedb").connect(str(folder)).create_table("items", pa.table({"vector": vectors}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "make"), [("chroma", make_chroma), ("qdrant", make_qdrant), ("lancedb", make_lancedb)]
)
def test_errors_of_other_libraries_are_input_errors(tmp_path, kind, make):
    make(tmp_path / "good")
    refused = 0
    for seed in range(12):
        shutil.copytree(tmp_path / "good", tmp_path / f"{seed}")
        damaged(tmp_path / f"{seed}", seed)
        try:
            assert table_of(kind, tmp_path / f"{seed}", table="items").num_rows == ROWS
        except vsearch.InputError:
            refused += 1
    assert refused


@pytest.mark.filterwarnings("ignore")
def test_a_collection_of_chroma(tmp_path):
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(str(tmp_path / "c"))
    collection = client.create_collection("items", configuration={"hnsw": {"space": "cosine"}})
    flat = [{name: row[name] for name in ("price", "rate", "flag")} for row in METADATA]
    collection.add([f"id{row}" for row in range(ROWS)], VECTORS, flat, [f"text {row}" for row in range(ROWS)])
    source = open_source("chroma", str(tmp_path / "c"))
    rows = {row["id"]: row for row in source.reader().read_all().to_pylist()}
    assert source.metric == "cosine"
    assert (len(rows), rows["id7"]["price"], rows["id7"]["_text"], rows["id0"]["rate"]) == (ROWS, 7, "text 7", 1.0)
    np.testing.assert_allclose(rows["id7"]["vector"], VECTORS[7], rtol=1e-6)
    made = import_index("chroma", str(tmp_path / "c"), str(tmp_path / "i"))
    assert made.count("flag AND price < 10") == 4
    with pytest.raises(vsearch.InputError, match="there are items"):
        open_source("chroma", str(tmp_path / "c"), table="nothing")


@pytest.mark.filterwarnings("ignore")
def test_a_collection_of_qdrant(tmp_path):
    qdrant = pytest.importorskip("qdrant_client")
    models = qdrant.models
    client = qdrant.QdrantClient(path=str(tmp_path / "q"))
    client.create_collection("items", models.VectorParams(size=WIDTH, distance=models.Distance.EUCLID))
    named = {name: models.VectorParams(size=WIDTH, distance=models.Distance.COSINE) for name in ("a", "b")}
    client.create_collection("named", named)
    points = [models.PointStruct(id=row, vector=VECTORS[row].tolist(), payload=METADATA[row]) for row in range(ROWS)]
    client.upsert("items", points)
    client.upsert("named", [models.PointStruct(id=3, vector={"b": VECTORS[3].tolist()}, payload={})])
    client.close()
    with pytest.warns(vsearch.VsearchWarning, match="deep, mixed"):
        source = open_source("qdrant", str(tmp_path / "q"), table="items")
    rows = source.reader().read_all().to_pylist()
    assert (source.metric, len(rows)) == ("l2", ROWS)
    assert (rows[5]["id"], rows[5]["price"], rows[5]["mixed"], json.loads(rows[5]["deep"])) == (5, 5, '"a"', {"a": [5]})
    assert rows[5]["words"] == ["a", "b5"]
    np.testing.assert_array_equal([row["vector"] for row in rows], VECTORS)
    with pytest.raises(vsearch.InputError, match="there are a, b"):
        open_source("qdrant", str(tmp_path / "q"), table="named")
    assert len(table_of("qdrant", tmp_path / "q", table="named", vector="b")) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_table_of_lancedb(tmp_path):
    lancedb = pytest.importorskip("lancedb")
    table = pa.table({
        "id": [f"id{row}" for row in range(ROWS)], "price": range(ROWS), "vector": pa.array(list(VECTORS), pa.list_(pa.float32(), WIDTH)),
        "when": [dt.datetime(2026, 1, 1) + dt.timedelta(days=row) for row in range(ROWS)],
    })  # fmt: skip
    lancedb.connect(str(tmp_path / "l")).create_table("items", table)
    found = table_of("lancedb", tmp_path / "l")
    assert found.select(["id", "price", "when"]).equals(
        table.select(["id", "price", "when"]).cast(found.select(["id", "price", "when"]).schema)
    )
    np.testing.assert_array_equal(found["vector"].to_pylist(), VECTORS)
    made = import_index("lancedb", str(tmp_path / "l"), str(tmp_path / "i"), metric="l2")
    assert made.search(VECTORS[7], 1, "price < 10").ids.tolist() == [["id7"]]
    with pytest.raises(vsearch.InputError, match="there are items"):
        open_source("lancedb", str(tmp_path / "l"), table="nothing")
