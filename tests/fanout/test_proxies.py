"""Calls through proxies, with certificates of the caller's own, over real sockets."""

from __future__ import annotations

import datetime as dt
import http.server
import select
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from vsearch.errors import InputError
from vsearch.fanout.calls.retries import CallError
from vsearch.fanout.platforms.connections import Connections, find_proxy

HOST = "functions.example"


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Tunneling(Answering):
    """A proxy: answers plain requests itself, and forwards the bytes of others to the server, whatever its name."""

    def do_CONNECT(self):
        self.server.seen.append((self.path, dict(self.headers), b""))
        with socket.create_connection(("127.0.0.1", self.server.behind)) as there:
            self.send_response(200)
            self.end_headers()
            pair = {self.connection: there, there: self.connection}
            while True:
                for one in select.select(list(pair), [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    pair[one].sendall(data)


@contextmanager
def running(handler, context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.seen, server.behind = [], None
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certificate(tmp_path):
    """A certificate of the host, which nobody has signed, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file, key_file = tmp_path / "certificate.pem", tmp_path / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return file, key_file


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


def test_plain_requests_go_to_the_proxy_with_the_whole_url(monkeypatch):
    with running(Tunneling) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.server_port}")
        connections = Connections(f"http://{HOST}:8000")
        for body in (b"one", b"two"):
            assert connections.post("/invoke", {"x-a": "b"}, body, 5).body == body
        connections.close()
    assert [path for path, _, _ in proxy.seen] == [f"http://{HOST}:8000/invoke"] * 2
    headers = {name.lower(): value for name, value in proxy.seen[0][1].items()}
    assert (headers["host"], headers["x-a"], headers["proxy-authorization"]) == (
        f"{HOST}:8000",
        "b",
        "Basic bWU6cEBzcw==",
    )


def test_secure_requests_go_through_a_tunnel_and_trust_the_bundle(monkeypatch, certificate):
    file, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    with running(Answering, context) as server, running(Tunneling) as proxy:
        proxy.behind = server.server_port
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
        connections = Connections(f"https://{HOST}")
        assert connections.post("/invoke", {}, b"secret", 5).body == b"secret"
        connections.close()
        assert [path for path, _, _ in proxy.seen] == [f"{HOST}:443"]
        assert [(path, body) for path, _, body in server.seen] == [("/invoke", b"secret")]
        monkeypatch.delenv("AWS_CA_BUNDLE")
        with pytest.raises(CallError, match="certificate verify failed"):
            Connections(f"https://{HOST}").post("/invoke", {}, b"", 5)


@pytest.mark.parametrize("text", ["missing", "empty"])
def test_a_bundle_that_cannot_be_read_is_named(monkeypatch, tmp_path, text):
    (tmp_path / "empty").write_text("no certificate")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / text))
    with pytest.raises(InputError, match="AWS_CA_BUNDLE must name a file of certificates"):
        Connections(f"https://{HOST}")


def test_which_hosts_have_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example,.corp.example")
    proxy = find_proxy("https", HOST)
    assert (proxy.host, proxy.port, proxy.headers) == ("proxy.example", 3128, {})
    for host in ("inside.example", "a.corp.example", "localhost", "127.0.0.1", "::1"):
        assert find_proxy("https", host) is None
    assert find_proxy("http", HOST) is None
    monkeypatch.setenv("ALL_PROXY", "http://other.example")
    assert find_proxy("http", HOST).host == "other.example"


@pytest.mark.parametrize(
    "url", ["socks5://proxy.example:1", "https://proxy.example", "http://", "http://a:b:c", "http://x:99999"]
)
def test_other_proxies_are_refused_without_their_password(monkeypatch, url):
    monkeypatch.setenv("HTTPS_PROXY", url.replace("://", "://me:secret@"))
    with pytest.raises(InputError, match="the proxy for https must be http://host:port") as refused:
        find_proxy("https", HOST)
    assert "secret" not in str(refused.value)
