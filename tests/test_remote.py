"""An index in a bucket returns the same answers as one in a folder, and reads no more than needed."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered
from tests.seaweed import PUBLIC
from vsearch.storage import open_store

ROWS = 1500


def table(n=ROWS):
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "number": np.arange(n),
            "price": rng.random(n),
            "name": pa.array([f"row {i}" for i in range(n)], mask=rng.random(n) < 0.1),
            "tags": [["a", "b", "c"][: i % 4] for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return build(tmp_path_factory.mktemp("remote") / "index")


def build(url, **options):
    ids = [f"id {i}" for i in range(ROWS)]
    return vsearch.build(
        clustered(ROWS), url, attributes=table(), ids=ids, shards=2, bits=2.0, partitions=24, **options
    )


@pytest.fixture(params=["s3", "memory"])
def place(request):
    """A URL and the options to open it with."""
    if request.param == "memory":
        return f"memory://{uuid4().hex}/index", {}
    return request.getfixturevalue("s3_url"), request.getfixturevalue("s3_options")


def check_same(one, two):
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.columns == two.columns


def test_answers_are_the_local_ones(place, local):
    url, options = place
    built = build(url, **options)
    assert {**built.info(), "url": "", "created": ""} == {**local.info(), "url": "", "created": ""}
    queries = clustered(6, seed=1)
    for kind in (
        {},
        {"exact": True},
        {"where": "price < 0.3 AND tags IS NOT NULL", "columns": ["name", "tags", "price"]},
        {"where": "name LIKE 'row 1%' OR list_contains(tags, 'c')", "columns": ["number"], "nprobe": 2},
        {"where": "number = 77", "columns": ["name"]},
        {"k": ROWS + 1},
    ):
        # each in an index that was just opened, so that every kind reads its own ranges
        check_same(vsearch.open(url, **options).search(queries, **kind), local.search(queries, **kind))
    index = vsearch.open(url, **options)
    assert index.get(["id 5", "id 1400"]).equals(local.get(["id 5", "id 1400"]))
    assert index.recall(queries).recall == local.recall(queries).recall
    assert vsearch.verify(url, **options).ok


def test_tune_overwrite_and_prune(place):
    url, options = place
    index = build(url, **options)
    with pytest.raises(vsearch.IndexExistsError):
        build(url, **options)
    report = index.tune(0.8, sample=30)
    assert vsearch.open(url, **options).info()["settings"] == report.settings
    vsearch.build(clustered(100), url, overwrite=True, **options)
    assert index.search(clustered(1)).ids.shape == (1, 10)
    assert [info.rows for info in index.snapshots()] == [ROWS, ROWS, 100]
    assert vsearch.prune(url, keep=1, **options).snapshots == (1, 2)
    assert len(vsearch.open(url, **options)) == 100
    assert vsearch.verify(url, **options).ok


def test_a_build_that_dies_leaves_nothing_visible(place):
    url, options = place

    def die(stage, done, total):
        if stage == "tune":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(url, progress=die, **options)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(url, **options)
    assert len(build(url, **options)) == ROWS


def test_damage_in_a_bucket(place):
    url, options = place
    build(url, **options)
    store = open_store(url, **options)
    paths = [info.path for folder in ("model", "segments") for info in store.list(folder)]
    for path in paths:
        if path.endswith("-0.arrow"):  # arrays without elements: nothing is ever read
            continue
        pristine = bytes(store.get(path))
        at = len(pristine) // 2
        for data in (pristine[:at] + bytes([pristine[at] ^ 1]) + pristine[at + 1 :], pristine[:-100]):
            store.put(path, data, create=False)
            with pytest.raises(vsearch.CorruptIndexError) as raised:
                everything(vsearch.open(url, **options))
            assert raised.value.path == path
        store.delete([path])
        with pytest.raises(vsearch.CorruptIndexError) as raised:
            everything(vsearch.open(url, **options))
        assert raised.value.path == path
        store.put(path, pristine)
    everything(vsearch.open(url, **options))


def everything(index):
    index.search(clustered(1), k=ROWS, where="number >= 0 OR price > 0 OR name = 'x' OR list_contains(tags, 'a')")
    index.search(clustered(1), k=ROWS, where="price > 0.5 AND price < 0.50001 OR name = 'row 3'")
    index.search(clustered(1), k=ROWS, columns=["number", "price", "name", "tags"], exact=True)


def test_a_search_reads_what_it_needs(s3_url, s3_options, tmp_path):
    """Opening reads headers; one query reads the partitions that it visits, and what it read stays."""
    n = 20_000
    options = {"partitions": 150, "shards": 1, "bits": 1.0}
    vsearch.build(clustered(n, 64), s3_url, **options, **s3_options)
    index = vsearch.open(s3_url, **s3_options)
    total = index.info()["bytes"]
    opened = index._snapshot.bytes_fetched()
    assert opened < 0.05 * total
    query = clustered(1, 64, seed=4)
    stats = index.search(query, k=1, nprobe=1).stats
    assert 0 < stats.bytes_fetched < 0.6 * total
    assert index.search(query, k=1, nprobe=1).stats.bytes_fetched == 0


def test_readers_need_no_right_to_write(s3_server):
    name = uuid4().hex
    url = f"s3://{PUBLIC}/{name}"
    build(url, **s3_server.options())
    for options in (s3_server.options("reader"), {"endpoint": s3_server.endpoint, "anonymous": True}):
        index = vsearch.open(url, **options)
        assert index.search(clustered(1), where="price < 0.5", columns=["name"]).ids.shape == (1, 10)
        with pytest.raises(vsearch.StoreError):
            index.tune(0.8, sample=5)
        with pytest.raises((vsearch.StoreError, vsearch.IndexExistsError)):
            vsearch.build(clustered(10), url, **options)


def test_a_bucket_that_is_not_there(s3_server):
    with pytest.raises((vsearch.StoreError, vsearch.IndexNotFoundError)):
        vsearch.open(f"s3://no-such-bucket-{uuid4().hex[:8]}/x", **s3_server.options())
    with pytest.raises(vsearch.StoreError):
        vsearch.open("s3://vsearch/x", **s3_server.options(secret="wrong"))


def test_memory_is_per_name():
    one, two = f"memory://{uuid4().hex}", f"memory://{uuid4().hex}"
    vsearch.build(clustered(50), one)
    assert len(vsearch.open(one)) == 50
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(two)
