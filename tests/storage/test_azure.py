from __future__ import annotations

import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.azurite import CONTAINER
from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.storage import open_store, verify
from vsearch.storage.stores.advice import AZURE, explain_store
from vsearch.testing.stores import StoreContract

KEY = "aHVzaA=="  # "hush"
NAMES = (
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_SKIP_SIGNATURE",
    "AZURE_ALLOW_HTTP",
)


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """An environment without Azure."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "az://c/p/q/",
        "AZ://c/p/q",
        "abfs://c/p/q",
        "abfss://c/p/q",
        "abfs://c@words.dfs.core.windows.net/p/q",
        "ABFSS://c@words.blob.core.windows.net/p/q/",
    ],
)
def test_spellings_of_a_container(url):
    store = open_store(url, account="words", anonymous=True)
    assert store.url == "az://c/p/q"
    assert store._options == {"account": "words", "anonymous": True}
    assert store._backend.config["account_name"] == "words"
    assert store._backend.config["container_name"] == "c"


def test_the_account_is_that_of_the_url_or_the_environment(monkeypatch):
    assert open_store("abfss://c@words.dfs.core.windows.net")._options == {"account": "words"}
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    assert open_store("az://c")._options == {"account": "other"}
    assert open_store("abfss://c@words.dfs.core.windows.net")._options == {"account": "words"}
    assert open_store("az://c", account="words")._options == {"account": "words"}


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("az://c/x", {}, "az://c needs a storage account; pass account= or set AZURE_STORAGE_ACCOUNT_NAME"),
        ("az://", {}, "is not a container URL; use az://container/prefix"),
        ("az://user:hush@c/x", {}, "is not a container URL.*pass keys by account_key="),
        ("az://hush@words.dfs.core.windows.net/x", {}, "is not a container URL"),
        ("abfss://hush@evil.example/x", {}, "is not a container URL"),
        ("abfss://hush@words.dfs.core.windows.net.evil.example/x", {}, "is not a container URL"),
        ("az://c/x?sig=hush", {}, "is not a container URL"),
        ("az://c/../x", {"account": "words"}, "not a plain relative path"),
        (
            "abfss://c@words.dfs.core.windows.net/x",
            {"account": "other"},
            "account must be 'words', as in the URL, got",
        ),
        ("az://c/x", {"account": "words", "account_key": "hush!"}, "account_key must be base64"),
        (
            "az://c/x",
            {"account": "words", "account_key": KEY, "sas_token": "sig=hush"},
            "pass only one of .*, got account_key and",
        ),
        ("az://c/x", {"account": "words", "endpoint": "http://10.0.0.1:10000/words"}, "not encrypted"),
        ("az://c/x", {"account": "words", "endpoint": "https://host?sig=hush"}, "has more than a host"),
        ("az://c/x", {"account": "words", "region": "x"}, "region: only for s3:// URLs"),
    ],
)
def test_what_cannot_be_opened(url, options, message):
    with pytest.raises(InputError, match=message) as caught:
        open_store(url, **options)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("secret", [{"account_key": KEY}, {"sas_token": "sv=1&sig=hush"}, {"bearer_token": "hush"}])
def test_options_travel_without_secrets(secret):
    store = open_store("az://c/p", account="words", endpoint="http://127.0.0.1:10000/words", **secret)
    data = pickle.dumps(store)
    assert b"hush" not in data
    assert KEY.encode() not in data
    again = pickle.loads(data)
    assert again._options == {"account": "words", "endpoint": "http://127.0.0.1:10000/words"}
    assert again._backend.config["endpoint"] == "http://127.0.0.1:10000/words"
    assert repr(again) == "ObjectStore('az://c/p')"


SAID = {
    "<Code>ContainerNotFound</Code><Message>x</Message>": "there is no such container",
    "<Code>AuthenticationFailed</Code><Message>Server failed to authenticate</Message>": "wrong or has expired",
    "<Code>AuthorizationFailure</Code>": "firewall",
    "<Code>AuthorizationPermissionMismatch</Code>": "the role Storage Blob Data Reader",
    "<Code>KeyBasedAuthenticationNotPermitted</Code>": "does not accept account keys",
    "<Code>PublicAccessNotPermitted</Code>": "instead of anonymous",
    "<Code>BlobArchived</Code>": "archived",
    "<Code>ServerBusy</Code>": "fewer requests",
    "Server returned non-2xx status code: 403 Forbidden: ": "AZURE_STORAGE_ACCOUNT_KEY",
    "error sending request for url (http://169.254.169.254/metadata/identity)": "no Azure credentials were found",
    "error sending request: dns error": "check the account's name",
}


@pytest.mark.parametrize("text", SAID)
def test_what_azure_says_comes_with_advice(text):
    said = explain_store(f"Generic MicrosoftAzure error: GET https://x/y in 4 ms - {text}", "read", provider=AZURE)
    assert SAID[text] in said
    assert "AWS" not in said


class TestAzurite(StoreContract):
    """Where Azure's emulator is installed, a store at it does what ours do."""

    @pytest.fixture
    def store(self, azurite):
        return open_store(f"az://{CONTAINER}/{uuid4().hex}", **azurite)


def test_an_index_lives_there(azurite, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((300, 16), np.float32)
    place = f"az://{CONTAINER}/{uuid4().hex}"
    vsearch.build(rows, place, **azurite)
    assert vsearch.open(place, **azurite).search(rows[7], k=1).ids.tolist() == [[7]]
    store = open_store(place, **azurite)
    assert verify(store).ok
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azurite["account_key"])
    assert verify(pickle.loads(pickle.dumps(store))).ok


@pytest.mark.slow
def test_upload_in_parts_and_a_listing_of_pages(azurite, tmp_path):
    store = open_store(f"az://{CONTAINER}/{uuid4().hex}", **azurite)
    data = np.random.default_rng(0).bytes(20 << 20)
    (tmp_path / "big").write_bytes(data)
    store.put_file("segments/big", tmp_path / "big")
    assert bytes(store.get("segments/big")) == data
    names = [f"manifest/{i:05d}" for i in range(1005)]
    for name in names:
        store.put(name, b"")
    assert [info.path for info in store.list("manifest")] == names
    store.delete(["manifest/none", *names])
    assert store.list("manifest") == []


def test_who_may_not_is_told_so(azurite):
    wrong = open_store(f"az://{CONTAINER}/x", **azurite | {"account_key": KEY})
    for ask in (lambda: wrong.get("a"), lambda: wrong.put("a", b""), lambda: wrong.list("")):
        with pytest.raises(StoreError, match="access was denied"):
            ask()
    nowhere = open_store("az://none/x", **azurite)
    for ask in (lambda: nowhere.get("a"), lambda: nowhere.put("a", b""), lambda: nowhere.list("")):
        with pytest.raises(StoreError, match="there is no such container"):
            ask()


class Recorder(ThreadingHTTPServer):
    """Where no emulator is: notes what is asked, and refuses it as Azure's documentation says; it keeps nothing."""

    daemon_threads = True

    def __init__(self):
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/words"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        status, code = (409, "BlobAlreadyExists") if self.command == "PUT" else (404, "BlobNotFound")
        if self.path.startswith("/words/none"):
            status, code = 404, "ContainerNotFound"
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = _serve  # noqa: N815 (names that the server looks for)

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def recorder():
    with Recorder() as server:
        yield server
        server.shutdown()


def test_what_is_asked_of_azure_and_what_its_refusals_become(recorder):
    store = open_store("az://c/p", account="words", account_key=KEY, endpoint=recorder.url)
    with pytest.raises(ConflictError, match="another writer was first"):
        store.put("a", b"1")
    method, path, headers = recorder.asked[0]
    assert (method, path, headers["if-none-match"]) == ("PUT", "/words/c/p/a", "*")
    with pytest.raises(FileNotFoundError, match="a: not found in az://c/p"):
        store.get("a", start=1, stop=3)
    assert "bytes=1-2" in recorder.asked[-1][2].values()
    nowhere = open_store("az://none/p", account="words", account_key=KEY, endpoint=recorder.url)
    for ask in (lambda: nowhere.get("a"), lambda: nowhere.put("a", b""), lambda: nowhere.list("")):
        with pytest.raises(StoreError, match="there is no such container"):
            ask()


@pytest.mark.parametrize("given", ["account_key", "sas_token", "bearer_token"])
def test_credentials_given_are_not_mixed_with_the_environment(recorder, given, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "b3RoZXI=")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=other")
    monkeypatch.setenv("AZURE_STORAGE_TOKEN", "other")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    value = {"account_key": KEY, "sas_token": "sv=1&sig=hush", "bearer_token": "hush"}[given]
    store = open_store("az://c/p", account="words", endpoint=recorder.url, **{given: value})
    with pytest.raises(FileNotFoundError):
        store.get("a")
    _, path, headers = recorder.asked[-1]
    said = headers.get("authorization", path)
    expected = {"account_key": "SharedKey words:", "sas_token": "sig=hush", "bearer_token": "Bearer hush"}[given]
    assert expected in said
    assert "other" not in said


def test_anonymous_sends_no_credentials(recorder, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "b3RoZXI=")
    with pytest.raises(FileNotFoundError):
        open_store("az://c/p", account="words", endpoint=recorder.url, anonymous=True).get("a")
    assert "authorization" not in recorder.asked[-1][2]
