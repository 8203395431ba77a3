"""Indexes of bits under hamming: whole distances, compared with counted bits, in every way that an index is used."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import files_of
from tests.serving.server import ask, serving
from vsearch.api.remote_index import RemoteIndex
from vsearch.bits import as_bits
from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.serving.settings import ServerSettings
from vsearch.storage import open_store

QUERIES = 8


def make_bits(rows, bits, seed=0):
    """Dense, sparse and repeated vectors, all zeros, all ones, and one bit apart from these."""
    rng = np.random.default_rng(seed)
    made = rng.random((rows, bits)) < rng.choice([0.01, 0.3, 0.5, 0.97], (rows, 1))
    made[: rows // 4] = made[rows // 4 : 2 * (rows // 4)]
    made[0], made[1], made[2], made[3] = False, True, False, True
    made[2, 0], made[3, -1] = True, False
    return made


def distances(queries, bits):
    return (queries[:, None, :] != bits[None, :, :]).sum(axis=2)


def check_hits(hits, queries, bits, allowed=None):
    """Scores are the distances of the rows, and these are as near as any."""
    true = distances(queries, bits)
    found = np.take_along_axis(true, np.maximum(hits.ids, 0), axis=1)
    np.testing.assert_array_equal(hits.scores[hits.ids >= 0], found[hits.ids >= 0])
    candidates = true if allowed is None else np.where(allowed, true, bits.shape[1] + 1)
    nearest = np.sort(candidates, axis=1)[:, : hits.scores.shape[1]].astype(float)
    nearest[nearest > bits.shape[1]] = np.nan
    np.testing.assert_array_equal(hits.scores, nearest)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    bits = make_bits(1200, 96)
    folder = tmp_path_factory.mktemp("hamming") / "i"
    table = {"ones": bits.sum(axis=1), "group": np.arange(1200) % 7}
    return vsearch.build(np.packbits(bits, axis=1), folder, table, packed=True, metric="hamming", shards=2), bits


@pytest.mark.parametrize("width", [1, 7, 8, 24, 100, 256, 1032])
@pytest.mark.parametrize("quantizer", ["osq", "osq-lloyd"])
def test_scores_are_the_numbers_of_different_bits(tmp_path, width, quantizer):
    bits = make_bits(400, width)
    queries = np.concatenate([bits[:4], make_bits(4, width, seed=1)])
    packed = width % 8 == 0
    stored = np.packbits(bits, axis=1) if packed else bits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vsearch.VsearchWarning)
        built = vsearch.build(stored, tmp_path / "i", packed=packed, metric="hamming", quantizer=quantizer)
    for asked in [queries, queries.astype(np.float64), queries * 2 - 1] + [np.packbits(queries, axis=1)] * packed:
        check_hits(built.search(asked, 400, exact=True), queries, bits)
    again = vsearch.open(tmp_path / "i")
    assert again.info()["metric"] == "hamming"
    np.testing.assert_array_equal(again.vectors(range(400)).vectors, bits)
    one = again.search(queries[0], 3)
    assert one.scores.tolist() == [[float(score) for score in distances(queries[:1], bits)[0, one.ids[0]]]]


@pytest.mark.parametrize("rerank", ["float16", "float32"])
def test_opposite_rows_in_one_partition_have_whole_distances(tmp_path, rerank):
    """All residuals lie in one direction, where rounding errors of rerank codes are largest."""
    width = 1024 if rerank == "float16" else 2048
    bits = np.zeros((120, width), bool)
    bits[1::2] = True
    bits[np.arange(120), np.arange(120)] ^= True
    index = vsearch.build(bits, tmp_path / "i", metric="hamming", partitions=1)
    assert vsearch.open(tmp_path / "i").snapshot.manifest.rerank == rerank
    check_hits(index.search(bits[:QUERIES], 120, exact=True), bits[:QUERIES], bits)


def test_filters_pages_thresholds_groups_and_vectors(index):
    index, bits = index
    queries = bits[3 : 3 + QUERIES]
    few = bits.sum(axis=1) < 20
    check_hits(index.search(queries, 30, where="ones < 20", exact=True), queries, bits, allowed=few)
    whole = index.search(queries, 60, exact=True)
    pages = [index.search(queries, 20, exact=True, offset=offset) for offset in (0, 20, 40)]
    np.testing.assert_array_equal(np.concatenate([page.ids for page in pages], axis=1), whole.ids)
    near = index.search(queries, 1200, min_score=5, exact=True)
    np.testing.assert_array_equal((~np.isnan(near.scores)).sum(axis=1), (distances(queries, bits) <= 5).sum(axis=1))
    groups = index.search_groups(np.packbits(queries, axis=1), "group", 7, exact=True)
    best = [[distances(queries, bits)[query, number::7].min() for number in range(7)] for query in range(QUERIES)]
    np.testing.assert_array_equal(groups.scores, np.sort(best, axis=1))
    decoded = index.search(queries, 5, vectors=True)
    np.testing.assert_array_equal(decoded.vectors, bits[decoded.ids])
    assert index.search_like([0], k=1, exact=True).scores.tolist() == [[0]]  # rows 0 to 299 occur twice
    assert index.recall(np.packbits(queries, axis=1)).recall > 0.8
    assert "hamming" in repr(index)


def test_changes_take_bytes_and_bits(tmp_path):
    bits = make_bits(2600, 64)
    packed = np.packbits(bits, axis=1)
    index = vsearch.create(tmp_path / "i", 64, metric="hamming")
    index.append(packed[:50])
    index.append(bits[50:80])
    index.append(vsearch.unpack_bits(packed[80:100]))
    index.append((packed[100:120].astype(np.int16) - 128).astype(np.int8), packed=True)
    check_hits(index.search(packed[:QUERIES], 120), bits[:QUERIES], bits[:120])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vsearch.VsearchWarning)  # rows far from those of the training
        index.append(packed[120:2500], packed=True)  # trains the index
        index.append(packed[2500:])
    assert index.info()["rerank"] == "float16"
    index.upsert(packed[:10][::-1], ids=range(10))
    bits[:10] = bits[:10][::-1].copy()
    check_hits(index.search(packed[:QUERIES], 200, exact=True), np.unpackbits(packed[:QUERIES], axis=1), bits)
    index.optimize()
    index.retrain()
    np.testing.assert_array_equal(vsearch.open(tmp_path / "i").vectors(range(2600)).vectors, bits)
    check_hits(index.search(bits[:QUERIES], 200, exact=True), bits[:QUERIES], bits)
    index.export(tmp_path / "rows.parquet")
    exported = pq.read_table(tmp_path / "rows.parquet")
    rebuilt = vsearch.build(exported, tmp_path / "again", vectors="vector", id="id", metric="hamming")
    check_hits(rebuilt.search(bits[:QUERIES], 20, exact=True), bits[:QUERIES], bits)


def test_functions_and_http_answer_as_the_index(index, tmp_path):
    pytest.importorskip("uvicorn")
    bits = index[1]
    queries, folder = bits[:QUERIES], tmp_path / "i"
    packed = np.packbits(queries, axis=1)
    local = vsearch.build(np.packbits(bits, axis=1), folder, packed=True, metric="hamming", shards=2)
    expected = local.search(queries, 9, exact=True)
    with serving(ServerSettings({"": str(folder)}, writable=True)) as url:
        for asked in (packed.tolist(), queries.astype(int).tolist()):
            status, found = ask(f"{url}/search", {"vectors": asked, "k": 9, "exact": True})
            assert status == 200
            assert [[hit["score"] for hit in hits] for hits in found["hits"]] == expected.scores.tolist()
        for wrong in ([0.5] * 96, [256] * 12, [-3] * 12, [1] * 13):
            assert ask(f"{url}/search", {"vector": wrong})[0] == 400
        rows = {"rows": [{"vector": packed[0].tolist()}, {"vector": packed[1].tolist()}]}
        assert ask(f"{url}/rows", rows)[0] == 200
        assert ask(f"{url}/rows", {"rows": [{"vector": queries[2].astype(int).tolist()}]})[0] == 200
        for wrong in ([0.5] * 96, [256] * 12, [1] * 13):
            assert ask(f"{url}/rows", {"rows": [{"vector": wrong}]})[0] == 400
    check_hits(vsearch.open(folder).search(queries, 9, exact=True), queries, np.concatenate([bits, queries[:3]]))


def test_remote_indexes_take_bytes_and_bits(index):
    local, bits = index
    names = Names("bits")

    def make(function):
        store = open_store(local.snapshot.store.url)
        return Worker.open(names.role(function), store, function, invoker=invoker, names=names)

    invoker = LocalInvoker(make)
    remote = RemoteIndex("test://bits", names, invoker, Envelope())
    queries = bits[:QUERIES]
    for asked in (queries, np.packbits(queries, axis=1)):
        hits, expected = remote.search(asked, 12, where="ones < 60"), local.search(asked, 12, where="ones < 60")
        np.testing.assert_array_equal(hits.scores, expected.scores)
        assert remote.recall(asked).recall > 0.8
    with pytest.raises(InputError, match="0 to 255"):
        remote.search(np.full((1, 12), -3, np.int8))


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (np.full((20, 16), 0.5), {}, "must be bits"),
        (np.tile([0, 1, -1, 1], (20, 4)), {}, "must be bits"),
        (np.zeros((20, 16), np.uint8), {"rerank": "int8"}, "float16, float32, got 'int8', since distances"),
        (np.zeros((20, 16), np.uint8), {"rerank": None}, "float16, float32, got None"),
        (np.zeros((20, 16), np.float32), {"packed": True}, "uint8 or int8"),
    ],
)
def test_what_are_not_bits_is_refused(tmp_path, vectors, options, message):
    with pytest.raises(InputError, match=message):
        vsearch.build(vectors, tmp_path / "i", metric="hamming", **options)
    assert not files_of(tmp_path)


@pytest.mark.parametrize(
    "queries",
    [np.full(96, 0.5), np.full((1, 96), 2), np.full(12, 1.5), np.full(12, np.nan), np.zeros((1, 1, 96)), ["a"]],
)
def test_queries_that_are_not_bits_are_refused(index, queries):
    with pytest.raises(InputError):
        index[0].search(queries)


def test_vectors_as_wide_as_their_bytes_are_bits():
    assert as_bits(np.array([[1, 0, 0, 0, 0, 0, 0, 1]]), 8).tolist() == [[1, 0, 0, 0, 0, 0, 0, 1]]
    assert as_bits(np.array([[129]]), 8).tolist() == [[1, 0, 0, 0, 0, 0, 0, 1]]
    assert as_bits(np.array([[1]], np.int8), 8).tolist() == [[1, 0, 0, 0, 0, 0, 0, 1]]


def test_a_cluster_is_refused(index, tmp_path):
    np.save(tmp_path / "bits.npy", index[1].astype(np.uint8))
    with pytest.raises(InputError, match="metric='hamming' is not available with client="):
        vsearch.build(str(tmp_path / "bits.npy"), tmp_path / "i", metric="hamming", client="local:1")
    with pytest.raises(InputError, match=r"bits .metric hamming. is not available with client="):
        vsearch.open(index[0].snapshot.store.url).append(str(tmp_path / "bits.npy"), client="local:1")
