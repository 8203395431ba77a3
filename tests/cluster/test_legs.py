"""Builds and retrainings of many tasks write the words and weights that those of one process write."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cluster.conftest import check_no_orphans, vectors
from tests.cluster.killing import deaths_in, die_at, run
from vsearch.api.cluster_building import job_options
from vsearch.building.training import BuildOptions
from vsearch.cluster.job import Columns
from vsearch.cluster.leg_parts import describe_legs
from vsearch.cluster.running import describe_job
from vsearch.storage import CHECKSUMS, open_store, read_manifest

ROWS = 17_000
OPTIONS = {"partitions": 12, "shards": 3, "seed": 5}
WORDS = ["red", "running", "shoes", "blue", "shirts", "Über", "strasse", "cat"]
TEXT = {"title": vsearch.TextColumn(weight=2.0, phrases=True), "body": vsearch.TextColumn(language="english")}


def table(low, high):
    rng = np.random.default_rng(low)
    rows = vectors()[low:high]

    def texts(most):
        lengths = rng.integers(0, most, high - low)
        return [" ".join(rng.choice(WORDS, n)) if n else None for n in lengths.tolist()]

    def weights():
        terms = rng.integers(0, 50, (high - low, 3)).tolist()
        values = rng.uniform(0.01, 3, (high - low, 3)).tolist()
        return [json.dumps({f"t{t}": v for t, v in zip(*row, strict=True)}) for row in zip(terms, values, strict=True)]

    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    return pa.table(
        {
            "v": flat,
            "key": pa.array([f"row {i}" for i in range(low, high)]),
            "title": pa.array(texts(4), pa.string()),
            "body": pa.array(texts(30), pa.string()),
            "weights": pa.array(weights(), pa.string()),
        }
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("legs")
    for number, (low, high) in enumerate([(0, 9000), (9000, 9000), (9000, ROWS)]):
        pq.write_table(table(low, high), folder / f"part-{number}.parquet", row_group_size=2500)
    return folder


@pytest.fixture(scope="module")
def references(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
        vsearch.build(source, folder / "both", vectors="v", id="key", text=TEXT, sparse="weights", **OPTIONS)
        vsearch.build(source, folder / "text", vectors="v", id="key", text="body", **OPTIONS)
    return folder


def job_of(source, text, sparse):
    options = job_options(BuildOptions(partitions=12, shards=3, seed=5), None)
    division = {"files_per_task": 1, "chunk_bytes": 1, "bucket_rows": 7000}
    legs = describe_legs(text, sparse)
    return describe_job(str(source), {}, options, columns=Columns("v", "key"), legs=legs, **division)


def plain(manifest):
    """Files and legs of an index, with numbers in place of the keys of its text columns."""
    keys = [column.key for column in manifest.text.columns]

    def numbered(kind):
        for number, key in enumerate(keys):
            kind = kind.replace(f"text-{key}-", f"text-{number}-")
        return kind

    columns = [
        {name: getattr(column, name) for name in column.__struct_fields__ if name != "key"}
        for column in manifest.text.columns
    ]
    files = [{numbered(kind): entry for kind, entry in shard.files.items()} for shard in manifest.shards]
    return columns, manifest.legs, files


def check_same_legs(one, many):
    """Two indexes have the same files, byte for byte, except for the keys of their text columns."""
    first, second = open_store(one), open_store(many)
    before, after = read_manifest(first), read_manifest(second)
    (columns, legs, files), (same_columns, same_legs, same_files) = plain(before), plain(after)
    assert (columns, legs) == (same_columns, same_legs)
    assert before.settings == after.settings
    for expected, found in zip(files, same_files, strict=True):
        assert expected.keys() == found.keys()
        for kind, entry in expected.items():
            if kind == CHECKSUMS and len(columns) > 1:
                continue  # in the order of the kinds, and thus of the keys
            assert bytes(first.get(entry.path)) == bytes(second.get(found[kind].path)), kind


@pytest.mark.parametrize("kind", ["both", "text"])
def test_the_same_words_and_weights(source, references, tmp_path, kind) -> None:
    text, sparse = (TEXT, "weights") if kind == "both" else ("body", None)
    job = job_of(source, text, sparse)
    assert job.id == job_of(source, text, sparse).id
    run(open_store(tmp_path / "i"), job)
    check_same_legs(references / kind, tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))
    one, many = vsearch.open(references / kind), vsearch.open(tmp_path / "i")
    for search in (
        lambda index: index.search_text("running shoes", k=5),
        lambda index: index.search(vectors()[3], k=5, text="cat"),
        *([lambda index: index.search_sparse({"t3": 1.0, "t7": 0.5}, k=5)] if sparse else []),
    ):
        assert search(one).ids.tolist() == search(many).ids.tolist()
    assert vsearch.verify(tmp_path / "i").ok


def test_killed_in_the_stages_that_write_legs(source, references, tmp_path) -> None:
    store, job = open_store(tmp_path / "i"), job_of(source, TEXT, "weights")
    deaths = deaths_in(["exchange", "weights", "shard"], {"shard": "segments/", "weights": "-weights-000000.json"})
    assert die_at(store, job, deaths) == deaths
    run(store, job)
    check_same_legs(references / "both", tmp_path / "i")
    check_no_orphans(store)


@pytest.mark.slow
def test_a_cluster_builds_and_retrains_them(source, references, tmp_path) -> None:
    many = vsearch.build(
        source, tmp_path / "i", vectors="v", id="key", text=TEXT, sparse="weights", client="local:2", **OPTIONS
    )
    many.delete(where="title IS NULL")
    one = vsearch.open(references / "both")
    one_copy = vsearch.build(source, tmp_path / "one", vectors="v", id="key", text=TEXT, sparse="weights", **OPTIONS)
    one_copy.delete(where="title IS NULL")
    one_copy.retrain()
    many.retrain(client="local:2")
    for text in ("red", 'title:"running shoes"', "strasse"):
        assert one_copy.search_text(text, k=9).ids.tolist() == many.search_text(text, k=9).ids.tolist()
    weights = [index.search_sparse({"t3": 1.0}, k=9) for index in (one_copy, many)]
    assert weights[0].ids.tolist() == weights[1].ids.tolist()
    assert vsearch.verify(tmp_path / "i").ok
    assert len(many) == len(one_copy) < len(one)


@pytest.mark.parametrize(
    ("text", "sparse", "message"),
    [
        ("nothing", None, "nothing"),
        ({"key": 1.0}, "nothing", "nothing"),
        (None, "nothing", "sparse must be the name of an attribute"),
        ("v", None, "v"),
    ],
)
def test_columns_that_cannot_be_searched_are_refused_before_rows_are_read(
    source, tmp_path, text, sparse, message
) -> None:
    store = open_store(tmp_path / "i")
    with pytest.raises(vsearch.InputError, match=message):
        run(store, job_of(source, text, sparse))
    assert store.list("") == []


def test_weights_that_are_not_a_column_are_refused(source, tmp_path) -> None:
    with pytest.raises(vsearch.InputError, match="with client= sparse must name a column"):
        vsearch.build(source, tmp_path / "i", vectors="v", sparse=[{"a": 1.0}], client="local:1")
