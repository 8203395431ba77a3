"""A bearer token travels encrypted, or stays on this machine."""

from __future__ import annotations

import pytest

from vsearch.errors import InputError
from vsearch.fanout.platforms.connections import Connections
from vsearch.fanout.platforms.hosting import open_worker
from vsearch.fanout.platforms.network import HttpInvoker
from vsearch.storage.stores.aws_container_keys import find_container_keys
from vsearch.storage.stores.loopback import is_loopback

HERE = ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
ELSEWHERE = [
    "example.com", "localhost.example.com", "127.0.0.1.example.com", "127.0.0.1@example.com", "10.0.0.1", "0.0.0.0",
    "169.254.170.2", "[fe80::1]", "[2001:db8::1]", "localhost.", "my-localhost", "2130706433", "",
]  # fmt: skip


@pytest.mark.parametrize("host", ELSEWHERE)
def test_tokens_do_not_leave_unencrypted(host):
    for template in (f"http://{host}/{{function}}", f"http://{host}:8080/{{function}}", f"HTTP://{host}/{{function}}"):
        with pytest.raises(InputError, match=r"requires https|must be a URL"):
            HttpInvoker(template, "a-token")
        HttpInvoker(template)
    HttpInvoker(f"https://{host}/{{function}}", "a-token")


@pytest.mark.parametrize("host", HERE)
def test_this_machine_may_have_them(host):
    assert is_loopback(host)
    if ":" not in host or host.startswith("["):
        HttpInvoker(f"http://{host}:8080/{{function}}", "a-token")


def test_a_function_in_the_place_of_the_host():
    with pytest.raises(InputError, match="requires https"):
        HttpInvoker("http://{function}.example.com/", "a-token")
    with pytest.raises(InputError, match="requires https"):
        HttpInvoker("http://{function}/", "a-token").invoke("example.com", b"", 1.0)
    for scheme in ("ftp", "ws", "file"):
        with pytest.raises(InputError, match="requires https"):
            HttpInvoker(f"{scheme}://example.com/{{function}}", "a-token")


def test_a_worker_does_not_start_that_would_send_it(tmp_path):
    environment = {
        "VSEARCH_INDEX": str(tmp_path),
        "VSEARCH_STACK": "t",
        "VSEARCH_INVOKER": "http://10.0.0.1/{function}",
        "VSEARCH_HTTP_TOKEN": "a-token",
    }
    with pytest.raises(InputError, match="bearer token requires https") as refused:
        open_worker("coordinator", environment)
    assert "a-token" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://user:word@host", "https://user@host", "http://:word@127.0.0.1:1"])
def test_addresses_with_passwords_are_refused_and_not_repeated(url):
    with pytest.raises(InputError, match="name or password") as refused:
        Connections(url)
    assert "word@" not in str(refused.value)


def test_the_token_of_a_container_stays_in_it_too(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a-token")
    for address in ("http://example.com/keys", "http://10.0.0.1/keys", "http://127.0.0.1@example.com/keys"):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        with pytest.raises(InputError, match="unencrypted"):
            find_container_keys()
    for address in (
        "https://example.com/keys",
        "http://169.254.170.23/v1",
        "http://[fd00:ec2::23]/v1",
        "http://[::1]/",
    ):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        assert find_container_keys() is not None
