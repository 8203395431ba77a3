"""Objects passed to worker processes can be pickled: indexes as a URL and a snapshot, without keys; answers as they are."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import pickletools

import numpy as np
import pytest

import vsearch
from tests.indexes import rows, same, table
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.aws_lambda import PRICES
from vsearch.fanout.platforms.network import HttpInvoker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store

SECRETS = ("writer-secret", "a-session-token", "a-bearer-token", "AKIAWRITER")


def again(value):
    """Through the bytes of a pickle, which hold no secret, nor what is read from the store."""
    data = pickle.dumps(value)
    text = " ".join(str(argument) for _, argument, _ in pickletools.genops(data))
    assert not [secret for secret in SECRETS if secret in text or secret.encode() in data]
    return pickle.loads(data)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return vsearch.build(rows(), tmp_path_factory.mktemp("pickle") / "index", attributes=table())


def search(index, query):
    return index.search(query, k=3, where="number < 100", columns=["name"])


def test_an_index_is_a_place_and_a_snapshot(index):
    assert len(pickle.dumps(index)) < 500
    found = search(again(index), rows(4))
    same(found, search(index, rows(4)))
    assert found.columns.equals(search(index, rows(4)).columns)
    assert repr(again(index)) == repr(index)


def test_the_snapshot_is_the_one_that_was_open(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index")
    data = pickle.dumps(index)
    index.tune(0.99, sample=20)
    assert pickle.loads(data).snapshot.manifest.snapshot == 1
    assert again(index).snapshot.manifest.snapshot == 2
    assert again(index).snapshot.settings == index.snapshot.settings


@pytest.mark.slow
def test_spawned_workers_search(index):
    queries = rows(6)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.starmap_async(search, [(index, query) for query in queries]).get(120)
    for hits, query in zip(found, queries, strict=True):
        same(hits, search(index, query))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_share_what_is_open(index, copied):
    other = copied(index)
    assert other is not index
    assert other.snapshot is index.snapshot
    same(search(other, rows(2)), search(index, rows(2)))


def test_an_index_that_is_gone_is_missed_when_it_is_searched(tmp_path):
    """Not while it is unpickled: a pool would wait for ever for the worker that ends there."""
    folder = tmp_path / "index"
    data = pickle.dumps(vsearch.build(rows(), folder))
    folder.rename(tmp_path / "elsewhere")
    unpickled = pickle.loads(data)
    for _ in range(2):
        with pytest.raises(vsearch.IndexNotFoundError):
            unpickled.search(rows(1))
    (tmp_path / "elsewhere").rename(folder)
    assert len(unpickled.search(rows(1))) == 1
    assert not hasattr(unpickled, "no_such_name")


def test_keys_come_from_the_environment_of_the_other_process(s3_server, s3_url, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    index = vsearch.build(rows(), s3_url, **s3_server.options())
    copied = copy.deepcopy(index)
    other = again(index)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "writer")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "writer-secret")
    same(other.search(rows(2)), index.search(rows(2)))
    same(copied.search(rows(2)), index.search(rows(2)))
    assert other.snapshot.store.url == s3_url


def test_options_of_a_store_travel_without_its_keys(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    keys = {"access_key_id": "AKIAWRITER", "secret_access_key": "writer-secret", "session_token": "a-session-token"}
    store = open_store("s3://b/p", endpoint="http://127.0.0.1:9", region="eu-west-3", **keys)
    assert again(store)._options == {"endpoint": "http://127.0.0.1:9", "region": "eu-west-3"}
    anyone = open_store("s3://b/p", endpoint="http://10.0.0.1:9", anonymous=True, allow_http=True)
    known = {"endpoint": "http://10.0.0.1:9", "region": "us-east-1", "anonymous": True, "allow_http": True}
    assert again(anyone)._options == known
    assert again(anyone)._backend is not None
    assert again(open_store("/some/folder")).url == "/some/folder"


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRITER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "writer-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")


def test_a_remote_index_travels_without_keys(keys, monkeypatch):
    options = {"region": "eu-west-3", "endpoint": "http://127.0.0.1:9", "overflow": "s3://b/spill"}
    index = vsearch.open("lambda://stack", snapshot=4, prices=PRICES["arm64"], **options)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    other = again(index)
    assert (other._url, other._snapshot, other._prices) == ("lambda://stack", 4, PRICES["arm64"])
    assert other._client.names == index._client.names
    assert other._client.envelope.overflow.url == "s3://b/spill"
    invoker = other._client.invoker
    assert (invoker._region, invoker._connections.host, invoker._qualifier) == ("eu-west-3", "127.0.0.1:9", ":live")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    with pytest.raises(vsearch.VsearchError, match="cannot be reached"):
        other.search(rows(1), timeout=1)
    assert copy.deepcopy(index)._client.invoker._signer._keys().secret == "writer-secret"


def test_a_bearer_token_does_not_travel(monkeypatch):
    invoker = HttpInvoker("https://host/{function}", "a-bearer-token")
    index = RemoteIndex("https://host", Names("stack"), invoker, Envelope())
    monkeypatch.delenv("VSEARCH_HTTP_TOKEN", raising=False)
    assert again(index)._client.invoker._token is None
    monkeypatch.setenv("VSEARCH_HTTP_TOKEN", "another")
    assert again(index)._client.invoker._token == "another"
    assert copy.deepcopy(index)._client.invoker._token == "a-bearer-token"


ANSWERS = {
    "hits": lambda index: index.search(rows(3), columns=["name"]),
    "recall": lambda index: index.recall(sample=20),
    "explanation": lambda index: index.explain(rows(1), where="number < 9"),
    "info": lambda index: index.info(),
    "snapshots": lambda index: index.snapshots(),
    "column": lambda index: vsearch.col("number"),
    "expression": lambda index: (vsearch.col("a") < 3) & ~vsearch.col("t").contains("x") | vsearch.col("b").like("a%"),
    "quantizer": lambda index: vsearch.PQ(subquantizers=4),
    "prices": lambda index: PRICES["arm64"],
    "verification": lambda index: vsearch.verify(index.snapshot.store.url),
    "plan": lambda index: vsearch.plan(rows()),
}


@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
def test_answers_and_questions_travel(index, make):
    value = make(index)
    for other in (again(value), copy.deepcopy(value), copy.copy(value)):
        assert type(other) is type(value)
        assert repr(other) == repr(value)


def test_documents_travel(tmp_path):
    matrices = np.split(rows(200), 40)
    index = vsearch.build_documents(matrices, None, tmp_path / "documents", dimensions=64, codebook=16)
    found, other = (each.search_documents(matrices[3], k=2, matches=True) for each in (index, again(index)))
    same(found, other)
    np.testing.assert_array_equal(again(found).matches[0].positions, found.matches[0].positions)
    assert again(index).info() == index.info()
