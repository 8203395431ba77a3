"""Builds of multi-vector documents by many tasks: the same index as that of one process, resumed after any death."""

from __future__ import annotations

import dask.bag
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cli.conftest import invoke
from tests.cluster.conftest import check_no_orphans, check_same
from tests.cluster.killing import Twice, deaths_in, die_at, run
from tests.cluster.test_dask import Killer, distributed
from tests.documents.conftest import draw
from vsearch.cluster.job import Columns, JobOptions
from vsearch.cluster.running import describe_job
from vsearch.cluster.tasks import DOCUMENTS
from vsearch.multivector.training import DocumentOptions
from vsearch.storage import open_store, read_manifest

ROWS, WIDTH = 1500, 16
GIVEN = {"column": "v", "id": "key", "codebook": 16, "dimensions": 32, "shards": 3, "seed": 5}

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def client():
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as opened:
        yield opened


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    """Chunks of as few rows as there can be, and tasks of few documents."""
    import msgspec

    from vsearch.cluster import description, document_steps

    division = msgspec.structs.replace(
        description.build_division(), documents_per_task=400, bucket_rows=700, chunk_bytes=1
    )
    monkeypatch.setattr(description, "build_division", lambda: division)
    monkeypatch.setattr(document_steps, "BATCHES", 1)


def table(low, high, kind=np.float32):
    collection = draw(ROWS, WIDTH, 3)
    vectors = [document.astype(kind) for document in collection.matrices()[low:high]]
    flat = pa.array(np.concatenate(vectors).ravel())
    inner = pa.FixedSizeListArray.from_arrays(flat, WIDTH)
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in vectors])])
    return pa.table(
        {
            "key": [f"row {row}" for row in range(low, high)],
            "v": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner),
            "n": pa.array([row % 97 if row % 7 else None for row in range(low, high)], pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    for number, (low, high) in enumerate([(0, 900), (900, 901), (901, ROWS)]):
        pq.write_table(table(low, high), folder / f"part-{number}.parquet", row_group_size=260)
    return folder


@pytest.fixture(scope="module")
def reference(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "i"
    vsearch.build_documents(source, None, folder, pool=2.0, **GIVEN)
    return folder


def job_of(source):
    options = DocumentOptions(pool=2.0, codebook=16, dimensions=32, shards=3, seed=5)
    described = JobOptions("ip", "osq", 1.0, None, None, 3, 5)
    return describe_job(str(source), {}, described, columns=Columns("v", "key"), documents=options, document_rows=400)


def check_same_documents(one, many):
    check_same(one, many)
    first, second = read_manifest(open_store(one)), read_manifest(open_store(many))
    assert first.documents == second.documents
    assert first.seed == second.seed
    assert any(kind.startswith("documents:") for kind in first.model)


def test_merged_vectors_of_many_files(client, source, reference, tmp_path) -> None:
    stages = {}
    index = vsearch.build_documents(
        source,
        None,
        tmp_path / "i",
        pool=2.0,
        client=client,
        progress=lambda stage, _, total: stages.setdefault(stage, total),
        **GIVEN,
    )
    assert list(stages)[:8] == ["files", "documents", "reduce", "number", "draw", "codec", "embed", "plan"]
    assert (stages["reduce"], stages["shard"]) == (4, 3)
    check_same_documents(reference, tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))
    assert vsearch.verify(tmp_path / "i").ok
    queries = draw(ROWS, WIDTH, 3).queries[:5]
    one, many = (folder.search_documents(queries, k=5, columns=["n"]) for folder in (vsearch.open(reference), index))
    assert many.ids.tolist() == one.ids.tolist()
    assert many.scores.tobytes() == one.scores.tobytes()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (np.float32, {}),
        (np.float16, {"store": "float16", "residual_bits": 4, "attributes": ["n"], "id": None}),
        (np.float32, {"candidates": "lists", "binary": True, "residual_bits": 0, "codebook": 64}),
        (np.float32, {"candidates": "lists", "store": "float32", "shards": None, "attributes": []}),
    ],
)
def test_codes_of_every_kind(client, tmp_path, kind, given) -> None:
    pq.write_table(table(0, 1300, kind), tmp_path / "rows.parquet", row_group_size=300)
    for name, more in (("one", {}), ("many", {"client": client})):
        vsearch.build_documents(tmp_path / "rows.parquet", None, tmp_path / name, **{**GIVEN, **given, **more})
    check_same_documents(tmp_path / "one", tmp_path / "many")
    check_no_orphans(open_store(tmp_path / "many"))


def test_more_than_one_chunk_of_documents(client, tmp_path) -> None:
    rows, count = np.random.default_rng(1).standard_normal((51_000, 8)).astype(np.float32), 17_000
    inner = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 8)
    ends = np.sort(np.random.default_rng(2).choice(np.arange(1, 51_000), count - 1, replace=False))
    lists = pa.ListArray.from_arrays(pa.array([0, *ends, 51_000], pa.int32()), inner)
    pq.write_table(pa.table({"v": lists, "n": np.arange(count)}), tmp_path / "rows.parquet", row_group_size=6000)
    for name, more in (("one", {}), ("many", {"client": client})):
        vsearch.build_documents(
            tmp_path / "rows.parquet", None, tmp_path / name, codebook=16, dimensions=8, shards=2, pool=1.5, **more
        )
    check_same_documents(tmp_path / "one", tmp_path / "many")
    check_no_orphans(open_store(tmp_path / "many"))


def changed(tmp_path, change):
    """A file in which document 900 is another one."""
    rows = table(0, 1000)
    documents = [np.array(document, np.float32) for document in rows.column("v").to_pylist()]
    documents[900] = change(documents[900])
    lists = pa.array([None if each is None else each.tolist() for each in documents], pa.list_(pa.list_(pa.float32())))
    pq.write_table(rows.set_column(1, "v", lists), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def flawed(document):
    document[0, 3] = np.nan
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: None, r"1 document has no usable vectors \(1 NULL\): 'row 900'; repair them, or leave them out"),
        (lambda _: np.empty((0, WIDTH)), r"\(1 without vectors\): 'row 900'"),
        (lambda document: document[:, :5], r"\(1 not of 16 dimensions\): 'row 900'"),
        (flawed, r"\(1 with NaN\): 'row 900'"),
        (lambda document: document * np.float32(1e30), r"\(1 with numbers that are infinite or too large\): 'row 900'"),
    ],
)
def test_documents_that_cannot_be_used_leave_nothing(tmp_path, change, message) -> None:
    with pytest.raises(vsearch.InputError, match=message):
        run(open_store(tmp_path / "i"), job_of(changed(tmp_path, change)))
    assert open_store(tmp_path / "i").list("") == []


@pytest.fixture(scope="module")
def with_gaps(tmp_path_factory):
    """Documents without usable vectors: the first ones, all of a task, and others of every kind."""
    rows = table(0, 1500)
    documents = [np.array(document, np.float32) for document in rows.column("v").to_pylist()]
    for number in (*range(3), *range(400, 800), 1200, 1499):
        documents[number] = None
    documents[900] = np.empty((0, WIDTH))
    documents[901] = documents[901][:, :5]
    documents[1000][0, 2] = np.nan
    documents[1001] *= np.float32(1e30)
    lists = pa.array([None if each is None else each.tolist() for each in documents], pa.list_(pa.list_(pa.float32())))
    path = tmp_path_factory.mktemp("gaps") / "rows.parquet"
    pq.write_table(rows.set_column(1, "v", lists), path, row_group_size=333)
    return path


@pytest.mark.parametrize("id", ["key", None])
def test_documents_without_usable_vectors_are_left_out_as_in_one_process(
    client, with_gaps, tmp_path, small_tasks, monkeypatch, id
) -> None:
    monkeypatch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
    arguments = {**GIVEN, "id": id, "missing": "skip"}
    told = []
    for name, more in (("one", {}), ("many", {"client": client})):
        with pytest.warns(vsearch.VsearchWarning) as caught:
            index = vsearch.build_documents(with_gaps, None, tmp_path / name, **more, **arguments)
        told.append(sorted(str(warning.message) for warning in caught if "usable" in str(warning.message)))
        assert len(index) == 1500 - 409
        assert sum(index.info()["skipped"].values()) == 409
    assert told[0] == told[1]
    check_same_documents(tmp_path / "one", tmp_path / "many")
    check_no_orphans(open_store(tmp_path / "many"))


def test_documents_none_of_which_can_be_used_are_refused(client, tmp_path) -> None:
    rows = table(0, 50)
    for name, lists in (
        ("null", pa.nulls(50, rows.schema.field("v").type)),
        ("nan", pa.array([[[float("nan")] * WIDTH]] * 50, rows.schema.field("v").type)),
    ):
        pq.write_table(rows.set_column(1, "v", lists), tmp_path / f"{name}.parquet")
        with pytest.raises(vsearch.InputError, match=r"has vectors|none are left"):
            vsearch.build_documents(
                tmp_path / f"{name}.parquet", None, tmp_path / "i", client=client, column="v", missing="skip"
            )
        assert open_store(tmp_path / "i").list("") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offsets": np.array([0, 3])}, "offsets is not available with client="),
        ({"saliency": np.ones(3)}, "saliency is not available with client="),
        ({"keep": 0.5}, "keep=0.5 needs the saliency"),
        ({"missing": "other"}, "missing must be"),
        ({"column": "n"}, "column 'n' does not contain lists of vectors"),
        ({"id": "nil"}, "ids: no column 'nil'"),
        ({"attributes": ["nil"]}, "no column 'nil'"),
        ({"vectors": [np.eye(4)]}, "got list"),
        ({"vectors": "v.npy"}, "multi-vector documents require tables"),
        ({"client": 3}, "client must be"),
        ({"client": None, "source_storage": {}}, "source_storage is only available with client="),
        ({"shards": 5000}, "shards must be an integer from 1 to the number of rows"),
    ],
)
def test_what_is_refused(client, source, tmp_path, monkeypatch, arguments, message) -> None:
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    given = {"vectors": source, "offsets": None, "client": client, **GIVEN, **arguments}
    with pytest.raises(vsearch.InputError, match=message):
        vsearch.build_documents(out=tmp_path / "i", **given)
    assert not (tmp_path / "i").exists() or open_store(tmp_path / "i").list("") == []


def test_a_dask_bag(client, tmp_path) -> None:
    rows = table(0, 1000).to_pylist()
    vsearch.build_documents(rows, None, tmp_path / "one", **GIVEN)
    bag = dask.bag.from_sequence(rows, npartitions=3)
    vsearch.build_documents(bag, None, tmp_path / "many", client=client, **GIVEN)
    check_same_documents(tmp_path / "one", tmp_path / "many")
    check_no_orphans(open_store(tmp_path / "many"))


DEATHS = deaths_in(DOCUMENTS, {})
DEATHS += [("-exchange-", False), ("-exchange-000000.json", True), ("segments/", False), ("-shard-000000.json", True)]
DEATHS += [("-tune-", False), ("manifest/000", False), ("manifest/000", True)]


def test_killed_in_every_stage(source, reference, tmp_path) -> None:
    store, job = open_store(tmp_path / "i"), job_of(source)
    assert die_at(store, job, DEATHS) == DEATHS
    run(store, job)
    check_same_documents(reference, tmp_path / "i")
    check_no_orphans(store)


def test_every_task_at_once_on_two_workers(source, reference, tmp_path) -> None:
    store = open_store(tmp_path / "i")
    run(store, job_of(source), Twice())
    check_same_documents(reference, tmp_path / "i")
    check_no_orphans(store)


def test_other_options_are_another_job(source) -> None:
    import msgspec

    job = job_of(source)
    other = msgspec.structs.replace(
        job, documents=DocumentOptions(pool=2.0, codebook=17, dimensions=32, shards=3, seed=5)
    )
    assert job.id == job_of(source).id != other.id


@pytest.mark.slow
def test_workers_that_die_are_replaced(source, reference, tmp_path) -> None:
    stages = ["codec", "draw", "embed", "exchange", "reduce", "shard"]
    (tmp_path / "killed").mkdir()
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(Killer(tmp_path / "killed", stages))
        vsearch.build_documents(source, None, tmp_path / "i", pool=2.0, client=client, **GIVEN)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == stages
    check_same_documents(reference, tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))


@pytest.mark.slow
def test_from_the_command_line(source, reference, tmp_path) -> None:
    options = [
        "--vectors",
        "v",
        "--id",
        "key",
        "--codebook",
        "16",
        "--dimensions",
        "32",
        "--shards",
        "3",
        "--seed",
        "5",
    ]
    told = invoke("build", source, tmp_path / "i", "--documents", "--pool", "2", "--cluster", "local:1", *options)
    assert told.status == 0, told.errors
    check_same_documents(reference, tmp_path / "i")
    refused = invoke("build", source, tmp_path / "j", "--documents", "--keep", "0.5", "--cluster", "local:1")
    assert "needs the saliency" in refused.errors


def test_a_first_document_without_vectors_is_refused(tmp_path) -> None:
    lists = pa.array([[], [[1.0, 2.0]]], pa.list_(pa.list_(pa.float32())))
    pq.write_table(pa.table({"v": lists, "key": ["a", "b"]}), tmp_path / "rows.parquet")
    with pytest.raises(vsearch.InputError, match=r"1 without vectors\): 'a'; repair"):
        run(open_store(tmp_path / "i"), job_of(tmp_path / "rows.parquet"))
