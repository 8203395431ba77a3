"""The local FaaS accepts control requests only from the user who started it, not from other users or web pages."""

from __future__ import annotations

import http.client
import json
import os
import stat
from urllib.parse import urlsplit

import pytest

from vsearch.api.local_endpoint import local_endpoint, own_folder, state_file
from vsearch.errors import InputError
from vsearch.faas import daemon


def ask(server, method, path, body=b"", **headers):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


CONTROL = [
    ("GET", "/vsearch/functions"),
    ("POST", "/vsearch/functions"),
    ("POST", "/vsearch/evict-idle"),
    ("POST", "/vsearch/down"),
    ("DELETE", "/vsearch/functions/echo"),
]


@pytest.mark.parametrize(("method", "path"), CONTROL)
def test_control_asks_for_the_token(server, method, path):
    assert ask(server, method, path, b"{}")[0] == 403
    assert ask(server, method, path, b"{}", x_vsearch_token="guessed")[0] == 403
    status, body = ask(server, "GET", "/vsearch/functions", x_vsearch_token=server.token)
    assert status == 200
    assert "echo" in [each["name"] for each in json.loads(body)]


@pytest.mark.parametrize("path", ["/2015-03-31/functions/echo/invocations", "/url/echo/", "/vsearch/functions"])
def test_names_that_lead_here_from_elsewhere_are_refused(server, path):
    port = urlsplit(server.url).port
    token = server.token
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}"):
        assert ask(server, "POST", path, b"{}", host=host, x_vsearch_token=token)[0] == 403
    for origin in ("https://evil.example", "null"):
        assert ask(server, "POST", path, b"{}", origin=origin, x_vsearch_token=token)[0] == 403
    here = f"localhost:{port}"
    assert ask(server, "POST", path, b"{}", host=here, origin=f"http://{here}", x_vsearch_token=token)[0] != 403


@pytest.fixture
def folder(tmp_path, monkeypatch):
    found = tmp_path / "faas"
    monkeypatch.setenv("VSEARCH_FAAS_STATE", str(found / "state.json"))
    yield found
    daemon.down()


def test_the_state_is_for_its_user_only(folder):
    daemon.up()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(state_file().stat().st_mode) == 0o600
    assert json.loads(state_file().read_text())["token"]
    folder.chmod(0o770)
    try:
        for attempt in (daemon.up, daemon.find, daemon.status, local_endpoint):
            with pytest.raises(InputError, match="others can write"):
                attempt()
    finally:
        folder.chmod(0o700)


def test_a_folder_of_another_or_a_link_is_refused(folder, tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    folder.symlink_to(real)
    with pytest.raises(InputError, match="is a symbolic link"):
        own_folder()
    folder.unlink()
    folder.mkdir(mode=0o700)
    mine = os.getuid()
    with monkeypatch.context() as patched:
        patched.setattr("os.getuid", lambda: mine + 1)
        with pytest.raises(InputError, match="belongs to another user"):
            own_folder()
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        own_folder()
    folder.unlink()
