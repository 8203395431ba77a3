"""Where functions start from a snapshot, keys come from an address: store and signer ask there, and again before they end."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import vsearch
from vsearch.fanout.platforms.signing import Keys, find_keys
from vsearch.storage import open_store
from vsearch.storage.stores.aws_container_keys import EARLY, find_container_keys


@pytest.fixture
def address(monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            listening.asked += 1
            known = self.headers["authorization"] == "a token"
            body = json.dumps(listening.given).encode() if known else b"{}"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        listening.asked = 0
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{listening.server_port}/keys")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a token")
        give(listening)
        yield listening
        listening.shutdown()
        thread.join()


def give(listening, name="reader", secret="reader-secret", left=timedelta(hours=1)):
    end = (datetime.now(UTC) + left).isoformat().replace("+00:00", "Z")
    listening.given = {"AccessKeyId": name, "SecretAccessKey": secret, "Token": "t", "Expiration": end}


def test_keys_are_kept_until_shortly_before_they_end(address):
    keys = find_container_keys()
    give(address, left=EARLY + timedelta(seconds=30))
    assert keys()["access_key_id"] == keys()["access_key_id"] == "reader"
    assert address.asked == 1
    give(address, "soon", left=EARLY - timedelta(seconds=30))
    keys._keys = None
    assert keys()["access_key_id"] == "soon"
    give(address, "later")
    assert (keys()["access_key_id"], keys()["token"]) == ("later", "t")
    assert address.asked == 3


def test_the_signer_asks_there(address):
    assert find_keys(None)() == Keys("reader", "reader-secret", "t")


def test_a_store_asks_there(address, s3_server):
    give(address, "writer", "writer-secret")
    address.given["Token"] = ""
    store = open_store("s3://vsearch/container", endpoint=s3_server.endpoint)
    store.put("a", b"data")
    assert bytes(store.get("a")) == b"data"
    assert address.asked >= 1


def test_what_gives_no_keys_is_said(address, monkeypatch):
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another")
    with pytest.raises(vsearch.StoreError, match="returned no AWS keys"):
        find_container_keys()()


@pytest.mark.parametrize("variable", ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"])
def test_only_where_both_are_given(address, monkeypatch, variable):
    monkeypatch.delenv(variable)
    assert find_container_keys() is None


def test_keys_in_the_environment_come_first(address, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    assert find_container_keys() is None
