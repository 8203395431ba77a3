"""Builds from texts that workers encode: the same index as that of one process, resumed after any death, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import dask.bag
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cli.conftest import invoke
from tests.cluster.conftest import check_no_orphans, check_same
from tests.cluster.killing import Twice, deaths_in, die_at, run
from tests.cluster.test_dask import ROOT, Killer, distributed
from tests.encoders.models import sentences, write_model
from vsearch.api.cluster_building import _describe_texts
from vsearch.building.inputs.embedding import one_blas_thread
from vsearch.cluster import text_steps
from vsearch.cluster.job import Columns, JobOptions
from vsearch.cluster.running import describe_job
from vsearch.cluster.tasks import TEXTS
from vsearch.encoders import compress, load
from vsearch.encoders.loading import load_with_files, read_files
from vsearch.storage import open_store

#: More than one chunk of vectors; a task of which no row has a text, and others of which some have none.
ROWS, NOTHING, HOLES = 21_000, range(4096, 8192), (0, 7, 9000, 20_999)
OPTIONS = {"partitions": 12, "shards": 2, "seed": 7}
GIVEN = {"text_column": "body", "id": "key", "missing": "skip", **OPTIONS}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*usable vector"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def client():
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), prompts={"query": "search ", "document": "text "})


@pytest.fixture(scope="module")
def encoder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "e"
    compress(model, sentences(40, 6), bits=4).save(folder)
    return folder


def table(low, high):
    """Rows with texts, some of them empty; a row without a text may have no key."""
    texts = dict(zip(range(low, high), sentences(high, 6)[low:], strict=True))
    texts = {row: None if row in HOLES or row in NOTHING else "" if row % 500 == 3 else texts[row] for row in texts}
    return pa.table(
        {
            "key": pa.array([None if row in HOLES[1:] else f"row {row}" for row in texts], pa.string()),
            "body": pa.array(list(texts.values()), pa.string()),
            "n": pa.array([row % 97 for row in texts], pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number, (low, high) in enumerate([(0, 9000), (9000, 9001), (9001, ROWS)]):
        pq.write_table(table(low, high), folder / f"part-{number}.parquet", row_group_size=2600)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of few rows, all with a text and a key."""
    path = tmp_path_factory.mktemp("small") / "texts.parquet"
    pq.write_table(table(10, 1210), path, row_group_size=500)
    return path


@pytest.fixture(scope="module")
def references(source, small, encoder, model, tmp_path_factory):
    """The indexes that one process builds."""
    folder = tmp_path_factory.mktemp("references")
    with pytest.MonkeyPatch.context() as patch:  # as in processes of workers, which do not know the tests' own number
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
        with pytest.warns(vsearch.VsearchWarning, match="4100 rows have no usable vector"):
            vsearch.build(source, folder / "large", encoder=encoder, **GIVEN)
        vsearch.build(small, folder / "small", encoder=encoder, **GIVEN)
        vsearch.build(small, folder / "float", encoder=model, **GIVEN)
    return folder


@pytest.fixture
def small_tasks(monkeypatch):
    """Tasks of few texts, also for jobs that the library describes."""
    import msgspec

    from vsearch.cluster import description

    division = msgspec.structs.replace(description.build_division(), texts_per_task=200, bucket_rows=700)
    monkeypatch.setattr(description, "build_division", lambda: division)


def job_of(source, encoder, **fields):
    texts, files = _describe_texts("body", encoder, "skip")
    options = JobOptions("cosine", "osq", 1.0, "int8", 12, 2, 7)
    return describe_job(str(source), {}, options, columns=Columns(None, "key"), texts=texts, **fields), files


def test_texts_of_many_files(client, source, encoder, references, tmp_path, small_chunks) -> None:
    stages = {}
    with pytest.warns(vsearch.VsearchWarning) as told:
        index = vsearch.build(
            source,
            tmp_path / "i",
            encoder=encoder,
            client=client,
            progress=lambda stage, _, total: stages.setdefault(stage, total),
            **GIVEN,
        )
    expected = r"documents: 4100 rows have no usable vector (4100 NULL): 'row 0', None, 'row 4096', 'row 4097', 'row 4098' and others; skipped"
    assert [str(warning.message) for warning in told if "usable" in str(warning.message)] == [expected]
    assert list(stages)[:5] == ["files", "texts", "embed", "plan", "attach"]
    assert (stages["embed"], stages["assign"]) == (6, 2)
    check_same(references / "large", tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))
    assert index.info()["skipped"] == {"NULL": 4100}
    assert len(index) == ROWS - 4100
    assert vsearch.verify(tmp_path / "i").ok
    one = vsearch.open(references / "large").search(sentences(9, 6), k=5, columns=["body", "n"])
    many = index.search(sentences(9, 6), k=5, columns=["body", "n"])
    assert many.ids.tolist() == one.ids.tolist()
    assert many.columns.to_pylist() == one.columns.to_pylist()
    assert index.get(["row 503"], ["body"])["body"].to_pylist() == [""]


@pytest.mark.parametrize("kind", ["folder", "object", "float"])
def test_encoders_of_every_kind(client, small, encoder, model, references, tmp_path, small_tasks, kind) -> None:
    given = {"folder": str(encoder), "object": load(encoder), "float": model}[kind]
    vsearch.build(small, tmp_path / "i", encoder=given, client=client, **GIVEN)
    check_same(references / ("float" if kind == "float" else "small"), tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))


def test_files_of_an_encoder_make_the_same_encoder(encoder, model) -> None:
    texts = sentences(9, 6)
    for given in (encoder, load(encoder), model):
        opened, files = load_with_files(given)
        assert read_files(files).encode(texts, "document").tobytes() == opened.encode(texts, "document").tobytes()
    with pytest.raises(vsearch.InputError, match=r"must be a folder or compressed.*TextEncoder of float weights"):
        load_with_files(load(model))


@pytest.mark.parametrize(
    "given", [{"attributes": []}, {"attributes": ["n"]}, {"attributes": ["n"], "id": "key"}, {"id": "n"}]
)
def test_row_numbers_and_chosen_columns(client, small, encoder, tmp_path, small_tasks, monkeypatch, given) -> None:
    monkeypatch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
    rows = pq.read_table(small)
    rows = rows.set_column(2, "n", pa.array(range(1200), pa.int32()))
    rows = rows.set_column(1, "body", pa.array([None if row % 11 == 4 else f"text {row}" for row in range(1200)]))
    pq.write_table(rows, tmp_path / "rows.parquet")
    arguments = {"text_column": "body", "encoder": encoder, "missing": "skip", **OPTIONS, **given}
    one = vsearch.build(tmp_path / "rows.parquet", tmp_path / "one", **arguments)
    many = vsearch.build(tmp_path / "rows.parquet", tmp_path / "many", client=client, **arguments)
    check_same(tmp_path / "one", tmp_path / "many")
    assert many.info()["skipped"] == one.info()["skipped"] == {"NULL": 109}


@pytest.mark.parametrize("id", [None, "key"])
def test_rows_without_a_text_are_refused_as_in_one_process(client, source, encoder, tmp_path, id) -> None:
    told = []
    for name, more in (("one", {}), ("many", {"client": client})):
        with pytest.raises(vsearch.InputError, match="4100 rows have no usable vector") as caught:
            vsearch.build(source, tmp_path / name, text_column="body", encoder=encoder, id=id, **more)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert open_store(tmp_path / "many").list("") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text_column": None}, "text_column and encoder must be passed together"),
        ({"encoder": None}, "text_column and encoder must be passed together"),
        ({"text_column": "none"}, r"no column 'none'; the columns are: key, body, n"),
        ({"text_column": "n"}, "column 'n' is int64, not text"),
        ({"vectors": "body"}, "pass only one"),
        ({"packed": True}, "pass only one"),
        ({"attributes": ["nil"]}, "no column 'nil'"),
        ({"id": "nil"}, "ids: no column 'nil'"),
        ({"spool": "folder"}, "spool is not available with client=: vectors of texts are kept"),
        ({"missing": "other"}, "missing must be"),
        ({"encoder": "none"}, "folder"),
        ({"partitions": 2000}, "partitions"),
    ],
)
def test_what_is_refused(client, small, encoder, tmp_path, arguments, message) -> None:
    with pytest.raises(vsearch.InputError, match=message):
        vsearch.build(small, tmp_path / "i", **{**GIVEN, "encoder": encoder, "client": client, **arguments})
    assert not (tmp_path / "i").exists() or open_store(tmp_path / "i").list("") == []


def test_sources_without_texts_are_refused(client, encoder, model, tmp_path) -> None:
    np.save(tmp_path / "v.npy", np.eye(64, dtype=np.float32))
    nothing = pa.table({"key": ["a", "b"], "body": pa.nulls(2, pa.string())})
    pq.write_table(nothing, tmp_path / "nothing.parquet")
    for path, message in (("v.npy", "requires tables"), ("nothing.parquet", "no row has a text in column 'body'")):
        with pytest.raises(vsearch.InputError, match=message):
            vsearch.build(tmp_path / path, tmp_path / "i", text_column="body", encoder=encoder, client=client)
        assert open_store(tmp_path / "i").list("") == []
    with pytest.raises(vsearch.InputError, match="must be a folder or compressed"):
        vsearch.build(
            tmp_path / "nothing.parquet", tmp_path / "i", text_column="body", encoder=load(model), client=client
        )


def test_a_dask_collection_of_texts(client, small, encoder, tmp_path, monkeypatch) -> None:
    dask_frames = pytest.importorskip("dask.dataframe")
    monkeypatch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
    rows = pq.read_table(small, columns=["key", "body"])  # text in every column
    vsearch.build(rows, tmp_path / "one", encoder=encoder, **GIVEN)
    frame = dask_frames.from_pandas(rows.to_pandas(), 3)
    bag = dask.bag.from_sequence(rows.to_pylist(), npartitions=3)
    for name, collection in (("frame", frame), ("bag", bag)):
        vsearch.build(collection, tmp_path / name, encoder=encoder, client=client, **GIVEN)
        check_same(tmp_path / "one", tmp_path / name)
        check_no_orphans(open_store(tmp_path / name))


DEATHS = deaths_in(["encoder", *TEXTS], {"attach": "model/"})
DEATHS += [("-sample-", False), ("-shard-", False), ("manifest/000", False), ("manifest/000", True)]


@pytest.mark.parametrize("kind", ["small", "float"])
def test_killed_in_every_stage(small, encoder, model, references, tmp_path, small_tasks, kind) -> None:
    store = open_store(tmp_path / "i")
    job, files = job_of(small, model if kind == "float" else encoder)
    assert die_at(store, job, DEATHS, encoder=files) == DEATHS
    run(store, job, encoder=files)
    check_same(references / kind, tmp_path / "i")
    check_no_orphans(store)


def test_texts_are_not_encoded_again(client, small, encoder, references, tmp_path, monkeypatch, small_tasks) -> None:
    encoded = []
    encode = text_steps.encode_texts

    def counting(opened, texts):
        encoded.append(len(texts))
        return encode(opened, texts)

    def interrupt(at):
        def report(stage, done, _):
            if (stage, done) == at:
                raise KeyboardInterrupt

        return report

    monkeypatch.setattr(text_steps, "encode_texts", counting)
    store = open_store(tmp_path / "i")
    job, files = job_of(small, encoder)
    with pytest.raises(KeyboardInterrupt):
        run(store, job, encoder=files, progress=interrupt(("embed", 2)))
    assert sum(encoded) == 400
    other, other_files = job_of(small, load(encoder))
    assert other.id == job.id, "an encoder and its folder are the same"
    run(store, other, encoder=other_files)
    assert sum(encoded) == 1200
    check_same(references / "small", tmp_path / "i")
    check_no_orphans(store)


def test_another_encoder_or_column_is_another_job(small, encoder, model, small_tasks) -> None:
    jobs = [job_of(small, given)[0].id for given in (encoder, model, compress(model, sentences(40, 6), bits=8))]
    assert len(set(jobs)) == 3


def test_every_task_at_once_on_two_workers(small, model, references, tmp_path, small_tasks) -> None:
    store = open_store(tmp_path / "i")
    job, files = job_of(small, model)
    run(store, job, Twice(), encoder=files)
    check_same(references / "float", tmp_path / "i")
    check_no_orphans(store)


@pytest.mark.parametrize("stage", ["embed", "attach", "exchange"])
def test_texts_that_change_while_they_are_read_are_refused(small, encoder, tmp_path, small_tasks, stage) -> None:
    path = tmp_path / "texts.parquet"
    pq.write_table(table(10, 610), path)

    def change(at, done, _):
        if (at, done) == (stage, 0):
            pq.write_table(table(610, 1210), path)

    store = open_store(tmp_path / "i")
    job, files = job_of(path, encoder)
    with pytest.raises(vsearch.InputError, match=r"texts.parquet.* (changed or was removed|other rows|shorter)"):
        run(store, job, encoder=files, progress=change)
    assert store.list("") == []


def test_a_setting_of_blas_ends_with_its_last_user() -> None:
    from threadpoolctl import threadpool_info

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = threads()

    def use(seconds):
        with one_blas_thread:
            time.sleep(seconds)
            return threads()

    with ThreadPoolExecutor(2) as pool:
        assert set.union(*pool.map(use, [0.01, 0.2])) == {1}
    assert threads() == before


@pytest.mark.slow
def test_workers_that_die_while_they_encode_are_replaced(source, encoder, references, tmp_path, small_chunks) -> None:
    (tmp_path / "killed").mkdir()
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(Killer(tmp_path / "killed", ("embed", "attach")))
        vsearch.build(source, tmp_path / "i", encoder=encoder, client=client, **GIVEN)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["attach", "embed"]
    check_same(references / "large", tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))


@pytest.mark.slow
def test_in_an_object_store(client, small, encoder, references, tmp_path, s3_url, s3_options, small_tasks) -> None:
    open_store(f"{s3_url}/source", **s3_options).put(small.name, small.read_bytes())

    def interrupt(stage, *_):
        if stage == "assign":
            raise KeyboardInterrupt

    arguments = {"encoder": encoder, "client": client, **GIVEN, **s3_options}
    with pytest.raises(KeyboardInterrupt):
        vsearch.build(f"{s3_url}/source", f"{s3_url}/i", progress=interrupt, **arguments)
    vsearch.build(f"{s3_url}/source", f"{s3_url}/i", **arguments)
    check_same(references / "small", f"{s3_url}/i", s3_options)
    check_no_orphans(open_store(f"{s3_url}/i", **s3_options))


@pytest.mark.slow
def test_a_scheduler_that_dies_is_started_again(source, encoder, references, tmp_path) -> None:
    command = ["build", str(source), str(tmp_path / "i"), "--cluster", "local:1", "--text-column", "body"]
    command += ["--encoder", str(encoder), "--id", "key", "--missing", "skip"]
    command += ["--partitions", "12", "--shards", "2", "--seed", "7"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vsearch.cli", *command],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store = open_store(tmp_path / "i")
    try:
        deadline = time.monotonic() + 120
        while not any("-embed-" in info.path and info.path.endswith(".json") for info in store.list("jobs")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert any("-embed-" in info.path for info in store.list("jobs"))
    told = invoke(*command)
    assert told.status == 0, told.errors
    check_same(references / "large", tmp_path / "i")
    check_no_orphans(store)
