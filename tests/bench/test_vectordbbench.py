from __future__ import annotations

import enum
import importlib
import pickle
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

METRICS = ("COSINE", "L2", "IP", "DP")
D, ROWS = 16, 3000
CLIENT, CONFIG = "bench.vectordbbench.vsearch_client", "bench.vectordbbench.config"


def standins():
    """Modules with as much of that project as the client uses."""
    api, filters, payload = (
        types.ModuleType(f"vectordb_bench.backend.{n}") for n in ("clients.api", "filter", "payload")
    )
    api.MetricType = enum.StrEnum("MetricType", {name: name for name in (*METRICS, "HAMMING")}, module=api.__name__)
    api.DBConfig = type("DBConfig", (BaseModel,), {"__annotations__": {"db_label": str}, "db_label": ""})
    api.DBCaseConfig = type("DBCaseConfig", (), {})
    api.VectorDB = type("VectorDB", (), {})
    filters.Filter = type("Filter", (), {})
    filters.FilterOp = enum.StrEnum("FilterOp", {"NumGE": "NumGE", "StrEqual": "Label", "NonFilter": "NonFilter"})
    names = {name: name.lower() for name in ("IDS_ONLY", "VECTOR", "SCALAR_LABEL", "TEXT")}
    payload.PayloadProfile = enum.StrEnum("PayloadProfile", names)
    parents = ("vectordb_bench", "vectordb_bench.backend", "vectordb_bench.backend.clients")
    return {module.__name__: module for module in (*map(types.ModuleType, parents), api, filters, payload)}


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.setenv("LOG_FILE", str(tmp_path / "log"))
    if importlib.util.find_spec("vectordb_bench") is None:
        for name, module in standins().items():
            monkeypatch.setitem(sys.modules, name, module)
    ours = {name.rpartition(".")[2]: importlib.import_module(name) for name in (CONFIG, CLIENT)}
    theirs = {
        name: importlib.import_module(f"vectordb_bench.backend.{name}") for name in ("clients.api", "filter", "payload")
    }
    yield types.SimpleNamespace(
        **ours,
        MetricType=theirs["clients.api"].MetricType,
        FilterOp=theirs["filter"].FilterOp,
        PayloadProfile=theirs["payload"].PayloadProfile,
    )
    for name in (CONFIG, CLIENT):
        sys.modules.pop(name, None)


@pytest.fixture
def client(bench, tmp_path):
    def made(metric="COSINE", recall=1.0, rerank="float32", drop_old=True, **options):
        case = bench.config.VsearchIndexConfig(recall=recall, rerank=rerank, tuned_k=20)
        case.metric_type = bench.MetricType(metric)
        config = bench.config.VsearchConfig(folder=str(tmp_path / "index")).to_dict()
        return bench.vsearch_client.Vsearch(D, config, case, drop_old=drop_old, **options)

    return made


def vectors(rows=ROWS, seed=0):
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(9).standard_normal((30, D))
    X = centers[random.integers(30, size=rows)] + 0.8 * random.standard_normal((rows, D))
    return (X * random.uniform(0.5, 2, (rows, 1))).astype(np.float32)


def nearest(metric, X, Q, k, keep=None):
    X, Q = X.astype(np.float64), Q.astype(np.float64)
    if metric == "L2":
        scores = -((Q[:, None] - X[None]) ** 2).sum(axis=2)
    else:
        scores = Q @ (X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "COSINE" else X).T
    if keep is not None:
        scores = np.where(keep, scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :k]


def insert(db, X, batch=500, threads=2, labels=None, tenants=None):
    def one(start):
        rows = slice(start, start + batch)
        more = {} if tenants is None else {"tenant_labels_data": tenants[rows]}
        names = None if labels is None else labels[rows]
        return db.insert_embeddings(X[rows].tolist(), list(range(len(X)))[rows], names, **more)

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(one, range(0, len(X), batch)))
    assert [error for _, error in answers if error is not None] == []
    assert sum(count for count, _ in answers) == len(X)


def recall(found, true):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, true.tolist(), strict=True)])


@pytest.mark.parametrize("metric", METRICS)
def test_rows_are_found_before_and_after_optimizing(client, metric):
    X, Q = vectors(), vectors(20, seed=1)
    db = client(metric)
    true = nearest(metric, X, Q, 20)
    with db.init():
        insert(db, X)
        assert recall([db.search_embedding(q.tolist(), 20) for q in Q], true) > 0.99
        assert db.index.info()["tail_rows"] > 0
        db.optimize(len(X))
        assert db.index.info()["tail_rows"] == 0
    assert db.index is None
    db = pickle.loads(pickle.dumps(db))
    with db.init():
        assert recall([db.search_embedding(q.tolist(), 20) for q in Q], true) > 0.99


def test_a_tuned_recall_is_reached(client):
    X, Q = vectors(), vectors(40, seed=1)
    db = client(recall=0.9, rerank="int8")
    with db.init():
        insert(db, X)
        db.optimize()
        assert db.index.info()["settings"]["target"] == 0.9
        assert db.index.info()["settings"]["k"] == 20
        assert recall([db.search_embedding(q.tolist(), 20) for q in Q], nearest("COSINE", X, Q, 20)) > 0.85


def test_filters_and_tenants_leave_exactly_their_rows(bench, client):
    X, Q = vectors(), vectors(10, seed=1)
    row = np.arange(ROWS)
    labels = np.where(row % 5 == 0, "it's", "other")
    tenants = np.char.add("tenant_", (row % 3).astype(str))
    db = client(with_scalar_labels=True, multitenant_tenant_labels=sorted(set(tenants.tolist())))
    with db.init():
        insert(db, X, labels=labels.tolist(), tenants=tenants.tolist())
        db.optimize()
        for op, value, keep in (
            ("NonFilter", {}, row >= 0),
            ("NumGE", {"int_value": ROWS - 50}, row >= ROWS - 50),
            ("StrEqual", {"label_value": "it's"}, labels == "it's"),
            ("NonFilter", {}, row >= 0),
        ):
            db.prepare_filter(types.SimpleNamespace(type=bench.FilterOp[op], **value))
            for tenant in (None, "tenant_1"):
                kept = keep if tenant is None else keep & (tenants == tenant)
                found = [db.search_embedding(q.tolist(), 20, tenant=tenant) for q in Q]
                true = nearest("COSINE", X, Q, min(20, kept.sum()), kept)
                assert all(kept[ids].all() and len(ids) == true.shape[1] for ids in found)
                assert recall(found, true) > 0.99
        with pytest.raises(ValueError, match="filters must be a number or label filter, got"):
            db.prepare_filter(types.SimpleNamespace(type="another"))


def test_a_payload_does_not_change_the_answer(bench, client):
    X = vectors(300)
    db = client(with_scalar_labels=True)
    with db.init():
        insert(db, X, labels=["a"] * len(X))
        plain = db.search_embedding(X[0].tolist(), 5)
        for profile in (bench.PayloadProfile.VECTOR, bench.PayloadProfile.SCALAR_LABEL):
            assert db.supports_payload_profile(profile)
            assert db.search_embedding(X[0].tolist(), 5, payload_profile=profile) == plain
    assert plain[0] == 0
    assert not db.supports_payload_profile(bench.PayloadProfile.TEXT)


def test_more_rows_than_one_search_gives_come_in_pages(client):
    X = vectors(10_300)
    db = client()
    with db.init():
        insert(db, X, batch=6000, threads=1)
        found = db.search_embedding(X[3].tolist(), 10_200)
        assert len(found) == len(set(found)) == 10_200
        assert recall([found], nearest("COSINE", X, X[3:4], 10_200)) > 0.99
        assert sorted(db.search_embedding(X[3].tolist(), 10_500)) == list(range(10_300))


def test_rows_that_are_there_are_refused_as_a_whole(client):
    X = vectors(200)
    db = client()
    with db.init():
        insert(db, X[:100], batch=100)
        count, error = db.insert_embeddings(X[50:150].tolist(), list(range(50, 150)))
        assert count == 0
        assert isinstance(error, ValueError)
        assert db.index.count() == 100


def test_an_index_is_kept_unless_it_is_to_be_dropped(client):
    with (db := client()).init():
        insert(db, vectors(100), batch=100)
    with (db := client(drop_old=False)).init():
        assert db.index.count() == 100
    with (db := client()).init():
        assert db.index.count() == 0


def test_a_metric_that_vsearch_has_not_is_refused(client):
    with pytest.raises(ValueError, match="metric_type must be one of COSINE, L2, IP, DP, got HAMMING"):
        client("HAMMING")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("metric", ["COSINE", "L2", "IP"])
def test_its_own_runners_load_and_search(client, tmp_path, metric):
    runner = pytest.importorskip("vectordb_bench.backend.runner", reason="vectordb-bench is not installed")
    dataset = importlib.import_module("vectordb_bench.backend.dataset")
    filters = importlib.import_module("vectordb_bench.backend.filter")
    X, Q = vectors(), vectors(20, seed=1)
    label = filters.LabelFilter(label_percentage=0.2)
    labels = np.where(np.arange(ROWS) % 5 == 0, label.label_value, "other")
    true = {"neighbors.parquet": None, label.groundtruth_file: labels == label.label_value}
    tables = {
        name: {"id": range(20), "neighbors_id": list(nearest(metric, X, Q, 20, keep))} for name, keep in true.items()
    }
    tables["train.parquet"] = {"id": range(ROWS), "emb": list(X)}
    tables["test.parquet"] = {"id": range(20), "emb": list(Q)}
    tables["scalar_labels.parquet"] = {"id": range(ROWS), "labels": labels}
    for name, table in tables.items():
        pq.write_table(pa.table({column: pa.array(values) for column, values in table.items()}), tmp_path / name)
    data = dataset.CustomDataset(
        name="made",
        size=ROWS,
        dim=D,
        metric_type=metric,
        use_shuffled=False,
        with_gt=True,
        file_num=1,
        dir=str(tmp_path),
    )
    db = client(metric, with_scalar_labels=True)
    for asked in (filters.non_filter, label):
        manager = dataset.ParquetDatasetManager(data=data)
        manager.prepare(filters=asked, with_scalar_labels=True, k=20)
        if asked is filters.non_filter:
            load = runner.ConcurrentInsertRunner(db, manager, normalize=False, batch_size=250, with_scalar_labels=True)
            assert load.task() == ROWS
            with db.init():
                db.optimize(ROWS)
        assert db.filter_supported(asked)
        search = runner.SerialSearchRunner(db, manager.test_data, manager.gt_data, k=20, filters=asked)
        assert search.search((search.test_data, search.ground_truth))[0] > 0.99
