from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D, Twin, check, numbers


@pytest.fixture
def twin(tmp_path):
    return Twin(tmp_path / "index")


def test_retrain_keeps_rows_ids_and_attributes(twin):
    for seed in range(5):
        twin.append(60, seed)
    twin.delete(range(0, 400, 3))
    twin.index.rename_column("number", "n")
    twin.index.rename_column("n", "number")
    before = twin.index.info()
    commit = twin.index.retrain(partitions=4, seed=3)
    info = twin.index.info()
    assert info["snapshot"] == commit.snapshot == before["snapshot"] + 1
    assert (info["partitions"], info["seed"], info["deltas"], info["tail_rows"]) == (4, 3, 0, 0)
    assert (info["removed"], info["runs"]) == (0, [1])
    assert info["drift"] == {"energy": 1.0, "rows": 1.0, "recommendation": None}
    twin.check()
    twin.check(vsearch.open(twin.url))
    twin.append(3, seed=9)
    twin.delete([1, 2])
    twin.index.optimize(force=True)
    twin.check(vsearch.open(twin.url))
    assert vsearch.verify(twin.url).ok


def test_retrain_takes_other_options(twin):
    twin.append(200)
    twin.index.retrain(quantizer="pq", rerank="float16", shards=2, partitions=4)
    info = twin.index.info()
    assert (info["quantizer"], info["rerank"], info["shards"]) == ("pq", "float16", 2)
    twin.check()
    twin.index.retrain(bits=2.0)
    assert twin.index.info()["quantizer"] == "pq"
    twin.index.retrain(quantizer=vsearch.PQ(4, 16))
    assert vsearch.open(twin.url).info()["bits"] == 2
    twin.check(vsearch.open(twin.url))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"quantizer": "none"}, "quantizer must be"),
        ({"rerank": "int4"}, "rerank must be"),
        ({"partitions": 0}, "partitions must"),
    ],
)
def test_options_that_are_none(twin, options, match):
    with pytest.raises(vsearch.InputError, match=match):
        twin.index.retrain(**options)
    assert len(twin.index.snapshots()) == 1
    twin.check(vsearch.open(twin.url))


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_vectors_come_back_as_they_were(tmp_path, metric):
    vectors = clustered(300, D)
    index = vsearch.build(vectors, tmp_path / "index", metric=metric, rerank="float32")
    index.append(clustered(50, D, seed=2))
    queries = clustered(9, D, seed=3)
    before = index.search(queries, k=5, exact=True)
    index.retrain()
    after = vsearch.open(tmp_path / "index").search(queries, k=5, exact=True)
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_allclose(after.scores, before.scores, rtol=1e-4, atol=1e-5)
    assert index.append(clustered(1, D)).added == 1
    assert index.get([350]).num_rows == 1


def test_what_is_committed_meanwhile_is_there(twin):
    twin.append(60)
    other = vsearch.open(twin.url)
    seen = []

    def meanwhile(stage, done, total):
        if stage not in seen:
            seen.append(stage)
            twin.append(2, seed=len(seen))
            twin.delete([len(seen)])
            twin.upsert([50 + len(seen), 130], seed=len(seen))
            if stage == "encode":
                twin.index.optimize(force=True)
                twin.index.rename_column("number", "x")
                twin.index.add_column("y", 3)
                twin.index.rename_column("x", "number")

    commit = other.retrain(progress=meanwhile)
    assert set(seen) >= {"train", "assign", "encode", "tune"}
    for index in (other, vsearch.open(twin.url)):
        assert index.info()["snapshot"] == commit.snapshot
        twin.check(index)
        assert index.get([60])["y"].to_pylist() == [3]
    twin.append(5, seed=77, index=other)
    twin.check(vsearch.open(twin.url))


def test_writers_go_on_with_the_new_model(twin):
    """What was encoded before a retrain is encoded again, out of its rerank codes."""
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.live.commits import commit_change
    from vsearch.live.inputs import read_rows
    from vsearch.live.operations import Append, Upsert

    other = vsearch.open(twin.url)
    vectors = clustered(4, D, seed=50)
    new = read_rows(other.snapshot, vectors, InputArguments(numbers([1, 2, 3, 4]), np.arange(500, 504)))
    again = read_rows(other.snapshot, vectors[:2], InputArguments(numbers([7, 8]), [3, 4]))
    twin.append(200)
    twin.index.retrain(partitions=6, seed=5)
    assert commit_change(other.snapshot, Append(new))[0].added == 4
    assert commit_change(other.snapshot, Upsert(again))[0].replaced == 2
    twin.keep(range(500, 504), vectors, [1, 2, 3, 4])
    twin.keep([3, 4], vectors[:2], [7, 8])
    twin.check(vsearch.open(twin.url))


def test_of_two_retrains_the_first_counts(twin):
    other = vsearch.open(twin.url)

    def meanwhile(stage, done, total):
        if stage == "tune" and not done:
            twin.index.retrain(seed=9)

    with pytest.raises(vsearch.ConflictError, match="retrained in the meantime"):
        other.retrain(progress=meanwhile)
    twin.check(vsearch.open(twin.url))
    vsearch.prune(twin.url, keep=1, older_than=0, grace=0)
    twin.check(vsearch.open(twin.url))


def test_settings_of_the_old_model_are_not_for_the_new_one(twin):
    other = vsearch.open(twin.url)
    twin.index.retrain(seed=9)
    with pytest.raises(vsearch.ConflictError, match="retrained in the meantime"):
        other.tune(sample=20)


def test_codes_that_are_all_there_is_need_the_vectors_again(tmp_path):
    vectors = clustered(300, D)
    index = vsearch.build(vectors, tmp_path / "index", quantizer="pq", metric="l2", ids=np.arange(300) + 10)
    with pytest.raises(vsearch.InputError, match=r"pq without rerank codes.*vectors="):
        index.retrain()
    with pytest.raises(vsearch.InputError, match=r"missing: 309"):
        index.retrain(vectors[:299], np.arange(299) + 10)
    with pytest.raises(vsearch.InputError, match="id type"):
        index.retrain(vectors)
    with pytest.raises(vsearch.InputError, match="8 dimensions"):
        index.retrain(vectors[:, :4], np.arange(300) + 10)
    order = np.random.default_rng(0).permutation(300)
    index.retrain(vectors[order], order + 10, rerank="float32")
    hits = vsearch.open(tmp_path / "index").search(vectors[:20], k=1)
    assert hits.ids[:, 0].tolist() == list(range(10, 30))
    np.testing.assert_allclose(hits.scores, 0, atol=1e-3)


def test_string_ids(tmp_path):
    names = [f"r{i}" for i in range(120)]
    vectors = clustered(120, D)
    index = vsearch.build(vectors, tmp_path / "index", metric="l2", ids=names)
    index.delete(["r5"])
    index.retrain()
    index.retrain(vectors[::-1], names[::-1], rerank="float32")
    assert vsearch.open(tmp_path / "index").search(vectors[:3], k=1, exact=True).ids.tolist() == [
        ["r0"],
        ["r1"],
        ["r2"],
    ]
    assert len(index) == 119


def test_an_index_without_rows_has_nothing_to_train_on(twin):
    twin.delete(range(120))
    with pytest.raises(vsearch.InputError, match="without rows"):
        twin.index.retrain()


def test_a_retrain_that_dies_leaves_no_files(twin):
    from tests.indexes import files_of

    before = set(files_of(twin.url))

    def die(stage, done, total):
        if stage == "tune":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        twin.index.retrain(progress=die)
    assert set(files_of(twin.url)) == before


def test_restore_undoes_a_retrain(twin):
    before = dict(twin.rows)
    twin.append(30)
    twin.index.retrain(seed=4, rerank="int8")
    twin.index.restore(snapshot=1)
    check(vsearch.open(twin.url), before)
    assert twin.index.info()["rerank"] == "float32"
    twin.append(2, seed=3)
    assert len(vsearch.open(twin.url)) == 122
