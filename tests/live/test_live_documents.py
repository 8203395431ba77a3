"""Multi-vector documents in a changing index, compared with a dict of their vectors by exact MaxSim."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from bench.fuzzers.live_model import mapped, open_here, remote
from tests.live.small import clustered, numbers
from tests.live.troubles import Deadly, Interrupted, Killed, is_manifest, is_segment
from vsearch.errors import CorruptIndexError, InputError
from vsearch.fanout.roles.multivector import check_changes
from vsearch.live.optimizing import fold, optimize
from vsearch.search.state.deltas import read_delta
from vsearch.search.state.document_fetching import documents_at
from vsearch.search.state.fetching import find_ids
from vsearch.storage import open_store, prune, read_manifest, verify

pytestmark = pytest.mark.usefixtures("quickly")

D, COUNT = 12, 40
KINDS = {
    "residuals": {"codebook": 16, "store": "float32", "shards": 2},
    "lists": {"codebook": 16, "residual_bits": 0, "candidates": "lists", "store": "float32"},
    "binary lists": {"codebook": 8, "residual_bits": 0, "binary": True, "candidates": "lists"},
    "binary": {"codebook": 8, "residual_bits": 0, "binary": True, "shards": 2},
    "merged": {"codebook": 16, "pool": 2.0, "store": "float16"},
}
EXACT = ("residuals", "lists")


def drawn(n, seed):
    """Documents of 1 to 9 vectors."""
    rng = np.random.default_rng(seed)
    return [clustered(length, D, seed=seed * 1000 + i) for i, length in enumerate(rng.integers(1, 10, n).tolist())]


@cache
def objects(kind, ids):
    url = f"memory://documents-{kind.replace(' ', '-')}-{ids}/index"
    own = np.arange(COUNT) if ids == "int" else [f"d{i}" for i in range(COUNT)]
    vsearch.build_documents(
        drawn(COUNT, 1), None, url, attributes=numbers(np.arange(COUNT)), ids=own, dimensions=32, **KINDS[kind]
    )
    store = open_store(url)
    return {info.path: bytes(store.get(info.path)) for info in store.list("")}


class Held:
    """An index of 40 documents in a store of its own, and a dict of id to (vectors, number)."""

    def __init__(self, kind="residuals", ids="int", store=None):
        self.kind, self.text = kind, ids != "int"
        self.store = mapped() if store is None else store
        for path, data in objects(kind, ids).items():
            self.store.put(path, data)
        self.rows = {self.named(i): (vectors, i) for i, vectors in enumerate(drawn(COUNT, 1))}

    def named(self, number):
        return f"d{number}" if self.text else number

    def open(self, store=None):
        return open_here(self.store if store is None else store)

    def put(self, index, first, seed, n=6, *, upsert=False):
        matrices, ids = drawn(n, seed), [self.named(first + i) for i in range(n)]
        change = index.upsert if upsert else index.append
        if seed % 2:
            offsets = np.concatenate([[0], np.cumsum([len(one) for one in matrices])])
            commit = change(np.concatenate(matrices), numbers(np.arange(n) + 100), ids, offsets=offsets)
        else:
            commit = change(matrices, numbers(np.arange(n) + 100), ids)
        self.rows |= {one: (vectors, 100 + i) for i, (one, vectors) in enumerate(zip(ids, matrices, strict=True))}
        return commit

    def delete(self, index, numbers_of):
        index.delete([self.named(one) for one in numbers_of])
        for one in numbers_of:
            self.rows.pop(self.named(one), None)

    def update(self, index, numbers_of, value):
        index.update({"number": value}, ids=[self.named(one) for one in numbers_of])
        for one in numbers_of:
            self.rows[self.named(one)] = (self.rows[self.named(one)][0], value)

    def change(self, index):
        """Changes of every kind."""
        self.delete(index, [0, 1, 2, 30])
        self.update(index, [5, 6, 7], 500)
        assert self.put(index, 100, 3).added == 6
        commit = self.put(index, 103, 4, upsert=True)
        assert (commit.added, commit.replaced) == (3, 3)
        assert self.put(index, 8, 5, 2, upsert=True).replaced == 2
        self.update(index, [104, 8], 500)
        self.delete(index, [105, 9])

    def check(self, index=None):
        """Ids, attributes, counts under filters, and scores by MaxSim where the vectors are stored; the codes of all."""
        index = self.open() if index is None else index
        assert verify(self.store).ok
        assert len(index) == len(self.rows)
        ids = sorted(self.rows)
        assert index.get(ids)["number"].to_pylist() == [self.rows[one][1] for one in ids]
        queries = drawn(3, 77)
        exact = self.kind in EXACT
        hits = index.search_documents(queries, k=len(ids) + 2, candidates="all", exact=exact, matches=True)
        assert sorted(hits.ids[0][: len(ids)].tolist()) == ids
        assert np.isnan(hits.scores[:, len(ids) :]).all()
        for query, found, scores in zip(queries, hits.ids, hits.scores, strict=True):
            if exact:
                true = [(query @ self.rows[one][0].T).max(axis=1).sum() for one in found[: len(ids)].tolist()]
                np.testing.assert_allclose(scores[: len(ids)], true, rtol=1e-4)
        for met, found in zip(hits.matches, hits.ids, strict=True):
            lengths = np.array([len(self.rows[one][0]) for one in found[: len(ids)].tolist()])
            assert (met.positions[: len(ids)] < lengths[:, None]).all()
        passing = {one for one, (_, number) in self.rows.items() if number == 500}
        for candidates in (None, 3, "all"):
            found = index.search_documents(queries[0], k=20, where="number = 500", candidates=candidates).ids[0]
            assert sorted(one for one in found.tolist() if one not in (-1, None)) == sorted(passing)
        narrow = index.search_documents(queries, k=7, candidates=7)
        assert (~np.isnan(narrow.scores)).sum(axis=1).tolist() == [min(7, len(ids))] * 3
        return hits

    def codes(self, index):
        """What is stored of all documents, in the order of their ids."""
        wanted = np.array(sorted(self.rows), object if self.text else np.int64)
        return documents_at(index.snapshot, find_ids(index.snapshot, wanted)).parts()


def same_floats(one, other, **options):
    """Equal but for the last digit: how many rows are multiplied at once decides the order of a sum on some processors."""
    np.testing.assert_allclose(one, other, rtol=5e-7, **options)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for kind, arrays in one.items():
        for name, array in arrays.items():
            compare = same_floats if array.dtype.kind == "f" else np.testing.assert_array_equal
            compare(array, other[kind][name], err_msg=f"{kind} {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_changed_and_merged(kind):
    held = Held(kind, "string" if kind == "lists" else "int")
    index, reader = held.open(), held.open()
    held.change(index)
    before, codes = held.check(index), held.codes(index)
    assert reader.refresh()
    held.check(reader)
    fold(index.snapshot, most=1)
    index.refresh()
    assert len(index.snapshot.deltas) == 1
    assert_same(held.codes(index), codes)
    report = index.optimize(force=True)
    assert report.tuned
    assert (report.merged >= 1, report.split) == (True, 0)
    assert not index.optimize(force=True).changed
    assert_same(held.codes(index), codes)
    same_floats(held.check(index).scores, before.scores)
    same_floats(held.check().scores, before.scores)
    held.put(index, 200, 8)
    held.delete(index, range(10, 20))
    held.check(index)
    facts = index.info()["documents"]
    assert facts["documents"] == len(held.rows)
    assert facts["vectors_given"] == pytest.approx(sum(len(vectors) for vectors, _ in held.rows.values()), rel=0.05)
    assert facts["ratio_to_float32"] > 0


def test_appended_documents_are_encoded_as_those_of_a_build():
    held = Held("residuals")
    index = held.open()
    index.append(drawn(COUNT, 1), numbers(np.arange(COUNT)), np.arange(COUNT) + 1000)
    snapshot = index.snapshot
    old, new = (documents_at(snapshot, find_ids(snapshot, np.arange(COUNT) + first)).parts() for first in (0, 1000))
    assert_same(old, new)


def test_saliency_chooses_what_is_kept():
    matrices = drawn(COUNT, 1)
    saliency = [np.arange(len(one), dtype=np.float32) for one in matrices]
    index = vsearch.build_documents(
        matrices, None, "memory://kept/index", saliency=saliency, keep=0.5, codebook=16, dimensions=32, store="float32"
    )
    with pytest.raises(InputError, match="saliency"):
        index.append(matrices[:2])
    index.append(matrices, saliency=saliency)
    hits = index.search_documents(drawn(2, 9), k=2 * COUNT, candidates="all", exact=True)
    scores = [dict(zip(ids, scores, strict=True)) for ids, scores in zip(hits.ids, hits.scores, strict=True)]
    assert all(one[row] == pytest.approx(one[row + COUNT]) for one in scores for row in range(COUNT))
    assert index.info()["documents"]["vectors_given"] == 2 * sum(map(len, matrices))


def test_documents_that_are_not_usable():
    held = Held()
    index = held.open()
    with pytest.raises(InputError, match="dimensions"):
        index.append([np.ones((2, D + 1), np.float32)], ids=[900])
    with pytest.raises(InputError, match="empty"):
        index.append([np.ones((2, D), np.float32), np.ones((0, D), np.float32)], ids=[900, 901])
    with pytest.raises(InputError, match="already has rows with these ids: 3"):
        index.append(drawn(1, 5), ids=[3])
    with pytest.raises(InputError, match="packed"):
        index.append(drawn(1, 5), ids=[900], packed=True)
    with pytest.raises(InputError, match="cannot be retrained"):
        index.retrain()
    assert index.append([]).added == 0
    assert read_manifest(held.store).snapshot == 1
    spoiled = [*drawn(2, 5), np.full((1, D), np.nan, np.float32)]
    with pytest.raises(InputError, match="NaN"):
        index.append(spoiled, ids=[900, 901, 902])
    with pytest.warns(UserWarning, match="document"):
        commit = index.append(spoiled, numbers(np.arange(3)), [900, 901, 902], missing="skip")
    assert commit.added == 2
    assert index.get([900, 901])["number"].to_pylist() == [0, 1]
    vectors = vsearch.build(clustered(50, D, seed=1), "memory://single/index")
    with pytest.raises(InputError, match="one vector per row"):
        vectors.append(clustered(3, D, seed=2), offsets=[0, 3])


def test_a_table_of_documents_is_appended():
    held = Held()
    index = held.open()
    matrices = drawn(2, 6)
    table = pa.table({"v": [one.tolist() for one in matrices], "number": [500, 7]})
    index.append(table, ids=[300, 301], vectors="v")
    held.rows |= {300: (matrices[0], 500), 301: (matrices[1], 7)}
    held.check(index)


@pytest.mark.parametrize("when", [is_segment, is_manifest])
def test_what_others_do_during_a_merge_of_documents_counts(when):
    held = Held(store=remote())
    held.change(held.open())

    def event():
        other = held.open()
        held.put(other, 300, 11)
        held.put(other, 20, 12, 3, upsert=True)
        held.delete(other, [21, 100, 301])

    optimize(held.open(Interrupted(held.store, when, event, after=when is is_segment)).snapshot, force=True)
    held.check()
    behind, ahead = held.open(), held.open()
    held.put(ahead, 22, 13, 2, upsert=True)
    held.put(behind, 23, 14, 2, upsert=True)
    held.check(behind)
    behind.optimize(force=True, retune=False)
    held.check(behind)
    assert not read_manifest(held.store).live.deltas


@pytest.mark.parametrize("name", ["append", "optimize"])
def test_a_kill_at_every_call(name):
    held = Held("lists", store=remote())
    held.change(held.open())
    start = {info.path: bytes(held.store.get(info.path)) for info in held.store.list("")}
    rows = dict(held.rows)

    def act(store):
        index = held.open(store)
        if name == "append":
            held.put(index, 400, 15)
        else:
            optimize(index.snapshot, force=True)

    counting = Deadly(held.store)
    held.open(counting)
    opened, counting.calls = counting.calls, 0
    act(counting)
    after = dict(held.rows)
    for number in range(opened, counting.calls):
        held.store = remote()
        for path, data in start.items():
            held.store.put(path, data)
        deadly = Deadly(held.store, number, done=True)
        with pytest.raises(Killed):
            act(deadly)
        if deadly.writes:
            committed = read_manifest(held.store).snapshot > 8
            held.rows = dict(after if committed else rows)
            held.check()
            prune(held.store, 1, grace=0, older_than=0)
            held.check()


def test_a_delta_without_its_documents_is_damaged():
    held = Held("lists", store=remote())
    index = held.open()
    index.delete([1])
    plain = vsearch.build(clustered(60, 12, seed=1), "memory://plain/index", metric="ip", rerank=None)
    plain.append(clustered(3, 12, seed=2))
    snapshot = plain.snapshot
    wrong = msgspec.structs.replace(snapshot.manifest, documents=index.snapshot.manifest.documents)
    with pytest.raises(CorruptIndexError, match="has no 'documents'"):
        read_delta(snapshot.store, snapshot.manifest.live.deltas[0], snapshot.model, wrong)


def test_an_index_of_which_all_documents_are_deleted():
    held = Held("binary lists")
    index = held.open()
    held.delete(index, range(COUNT))
    held.check(index)
    assert index.info()["documents"]["documents"] == 0
    index.optimize(force=True)
    held.check(index)
    held.put(index, 0, 3)
    held.check(index)
    index.optimize(force=True)
    held.check()


def test_functions_refuse_documents_that_were_changed():
    held = Held()
    index = held.open()
    check_changes(index.snapshot.manifest)
    index.tag("built")
    check_changes(index.snapshot.manifest)
    index.delete([1])
    with pytest.raises(InputError, match=r"changed documents \(snapshot 3\)"):
        check_changes(index.snapshot.manifest)
    index.optimize(force=True, retune=False)
    with pytest.raises(InputError, match="changed documents"):
        check_changes(index.snapshot.manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_an_emptied_index_is_searched(kind):
    """There are no rows of which a kernel could take the best candidates."""
    held = Held(kind)
    index, queries = held.open(), drawn(2, 9)
    index.delete(where="number >= 0")
    for _ in range(2):
        for where in (None, "number < 5"):
            for options in ({}, {"candidates": "all"}, {"offset": 3}, {"k": 100}):
                for asked in (queries, queries[:1]):
                    assert (index.search_documents(asked, where=where, **options).ids == -1).all()
        index.optimize(force=True)
    held.rows.clear()
    held.put(index, 200, 3)
    held.check(index)
