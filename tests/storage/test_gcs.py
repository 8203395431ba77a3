from __future__ import annotations

import json
import pickle
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.seaweed import BUCKET
from tests.storage.google_gateway import TOKEN, GoogleGateway
from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.storage import open_store, probe, verify
from vsearch.storage.stores.advice import GOOGLE, explain_store
from vsearch.testing.stores import StoreContract

NAMES = (
    "GOOGLE_BASE_URL",
    "GOOGLE_ALLOW_HTTP",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SKIP_SIGNATURE",
)
LOGIN = {"type": "authorized_user", "client_id": "a", "client_secret": "hush", "refresh_token": "hush"}

ACCOUNT = {"client_email": "a", "private_key": "", "private_key_id": "", "disable_oauth": True}


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """An environment without Google."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gateway(s3_server):
    options = s3_server.options()
    with GoogleGateway(s3_server.endpoint, options["access_key_id"], options["secret_access_key"]) as server:
        yield server
        server.shutdown()


@pytest.fixture
def place():
    return f"gs://{BUCKET}/{uuid4().hex}"


class TestGateway(StoreContract):
    """The client of Google Cloud Storage, at a server that is not Google's."""

    @pytest.fixture
    def store(self, gateway, place):
        return open_store(place, endpoint=gateway.url, bearer_token=TOKEN)


def test_commits_rest_on_a_condition_that_is_sent(gateway, place):
    store = open_store(place, endpoint=gateway.url, bearer_token=TOKEN)
    probe(store)
    assert {generation for method, _, generation in gateway.asked if method == "PUT"} == {"0"}
    store.put("a", b"1")
    with pytest.raises(ConflictError, match="another writer was first"):
        store.put("a", b"2")


def test_an_index_lives_there(gateway, place, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((300, 16), np.float32)
    where = {"endpoint": gateway.url, "bearer_token": TOKEN}
    vsearch.build(rows, place, **where)
    assert vsearch.open(place, **where).search(rows[7], k=1).ids.tolist() == [[7]]
    store = open_store(place, **where)
    assert verify(store).ok
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", TOKEN)
    assert verify(open_store(place, endpoint=gateway.url)).ok
    assert verify(pickle.loads(pickle.dumps(store))).ok


def test_upload_in_parts(gateway, place, tmp_path):
    data = np.random.default_rng(0).bytes(20 << 20)
    (tmp_path / "big").write_bytes(data)
    store = open_store(place, endpoint=gateway.url, bearer_token=TOKEN)
    store.put_file("segments/big", tmp_path / "big")
    assert bytes(store.get("segments/big")) == data


def test_errors_speak_of_google(gateway, place):
    store = open_store(place, endpoint=gateway.url, bearer_token="wrong")
    for ask, right in (
        (lambda: store.get("x"), "get"),
        (lambda: store.put("x", b""), "create"),
        (lambda: store.list(""), "list"),
    ):
        with pytest.raises(
            StoreError, match=rf"access was denied .*GOOGLE_APPLICATION.*this needs storage\.objects\.{right}"
        ):
            ask()
    nowhere = open_store("gs://no-such-bucket/x", endpoint=gateway.url, bearer_token=TOKEN)
    with pytest.raises(StoreError, match="there is no such bucket"):
        nowhere.put("x", b"")


SAID = {
    "<Code>NoSuchBucket</Code><Message>The specified bucket does not exist.</Message>": "create it or correct the URL",
    "<Code>AccessDenied</Code><Message>x does not have storage.objects.get access</Message>": "storage.objects.get",
    "<Code>AuthenticationRequired</Code><Message>Authentication required.</Message>": "get a new one",
    '400 Bad Request: {"error": "invalid_grant"}': "gcloud auth application-default login",
    "<Code>UserProjectMissing</Code>": "requester-pays bucket",
    "<Code>SlowDown</Code>": "fewer requests",
    "Server returned non-2xx status code: 403 Forbidden: ": "GOOGLE_APPLICATION_CREDENTIALS",
    "error sending request for url (http://metadata.google.internal/computeMetadata)": "no Google credentials were found",
}


@pytest.mark.parametrize("text", SAID)
def test_what_google_says_comes_with_advice(text):
    said = explain_store(f"Generic GCS error: performing GET https://x/y in 4 ms - {text}", "read", provider=GOOGLE)
    assert SAID[text] in said
    assert "AWS" not in said


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("gs://", {}, "is not a bucket URL; use gs://bucket/prefix"),
        ("gs:///x", {}, "is not a bucket URL"),
        ("gs://key:hush@b/x", {}, r"is not a bucket URL.*pass keys by credentials_file="),
        ("gs://b/x?sig=hush", {}, "is not a bucket URL"),
        ("gs://b/../x", {}, "not a plain relative path"),
        ("gs://b/x", {"endpoint": "http://10.0.0.1:9000"}, "not encrypted"),
        ("gs://b/x", {"endpoint": "https://key:hush@host"}, "has more than a host"),
        ("gs://b/x", {"endpoint": "host"}, "is not a URL"),
        (
            "gs://b/x",
            {"bearer_token": "hush", "service_account_key": "hush"},
            "pass only one of .*, got service_account_key and",
        ),
        ("gs://b/x", {"credentials_file": "/none.json"}, "Google credentials cannot be used: .*/none.json"),
        ("gs://b/x", {"service_account_key": '{"hush": 1}'}, "Google credentials cannot be used"),
    ],
)
def test_what_cannot_be_opened(url, options, message):
    with pytest.raises(InputError, match=message) as caught:
        open_store(url, **options)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_endpoints_and_credentials_come_from_the_environment(monkeypatch, tmp_path):
    (tmp_path / "login.json").write_text(json.dumps(LOGIN))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "login.json"))
    assert open_store("GS://b/x/").url == "gs://b/x"
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://10.0.0.1:9")
    with pytest.raises(InputError, match="not encrypted"):
        open_store("gs://b/x")
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    assert open_store("gs://b/x").url == "gs://b/x"


def test_credentials_given_are_not_mixed_with_the_environment(gateway, place, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "of another")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(ACCOUNT))
    assert open_store(place, endpoint=gateway.url, bearer_token=TOKEN).list("") == []
    (tmp_path / "login.json").write_text(json.dumps(LOGIN))
    with pytest.raises(InputError, match="GOOGLE_BEARER_TOKEN in the environment would be used instead; unset it"):
        open_store(place, credentials_file=tmp_path / "login.json")


def test_options_travel_without_secrets(tmp_path):
    (tmp_path / "login.json").write_text(json.dumps(LOGIN))
    store = open_store("gs://b/p", credentials_file=tmp_path / "login.json", endpoint="https://host")
    data = pickle.dumps(store)
    again = pickle.loads(data)
    assert again._options == {"endpoint": "https://host", "credentials_file": str(tmp_path / "login.json")}
    assert again._backend is not None
    data += pickle.dumps(open_store("gs://b/p", bearer_token="hush"))
    assert b"hush" not in data
    assert repr(store) == "ObjectStore('gs://b/p')"
