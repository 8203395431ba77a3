"""A store that is busy or restarts, behind a real server; what stores and systems say; descriptors."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.functions.proxy import Proxy
from tests.storage.samples import manifest, write_shard
from vsearch.errors import ConflictError, SearchTimeoutError, StoreError
from vsearch.storage import commit, open_store, read_manifest, verify
from vsearch.storage.stores import retrying
from vsearch.storage.stores.advice import explain_store, explain_system, passes
from vsearch.storage.stores.retrying import no_later_than

SLOW = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Busy(Proxy):
    """Passes requests on, but for a while answers them with `status`, or hangs up where that is 0.

    With `after`, requests reach the server before the answer is withheld.
    """

    def __init__(self, endpoint):
        self.until, self.status, self.after, self.refused = 0.0, 503, False, 0
        super().__init__(endpoint)
        self.RequestHandlerClass = _Handler

    def busy(self, seconds, status=503, *, after=False):
        self.until, self.status, self.after, self.refused = time.monotonic() + seconds, status, after, 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        import http.client

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        busy = time.monotonic() < self.server.until
        if busy and not self.server.after:
            self._refuse()
            return
        behind = http.client.HTTPConnection(self.server.behind, timeout=30)
        behind.request(self.command, self.path, body, dict(self.headers))
        reply = behind.getresponse()
        data = reply.read()
        behind.close()
        if busy:
            self._refuse()
            return
        self.send_response_only(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self):
        self.server.refused += 1
        if not self.server.status:
            self.close_connection = True
            return
        self.send_response_only(self.server.status)
        self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(SLOW)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(SLOW)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 (names that the server looks for)

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def busy(s3_server):
    with Busy(s3_server.endpoint) as proxy:
        yield proxy
        proxy.shutdown()


@pytest.fixture
def quick(monkeypatch):
    """Time scaled down: a minute is a second."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(retrying, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr("vsearch.storage.stores.buckets.LONGEST_WAIT", 0.1)
    monkeypatch.setattr(retrying, "_QUIET", 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("status", [503, 429, 500, 0])
def test_a_build_outlives_a_store_that_is_busy(busy, s3_url, s3_options, quick, status, caplog):
    def progress(stage, done, total):
        if stage == "encode" or (stage, done) == ("tune", 1):
            busy.busy(0.7, status)

    with caplog.at_level(logging.WARNING, "vsearch"):
        vsearch.build(np.eye(40, dtype=np.float32), s3_url, progress=progress, **s3_options | {"endpoint": busy.url})
    assert busy.refused > 1
    assert verify(open_store(s3_url, **s3_options)).ok
    assert "still trying after" in caplog.text


@pytest.mark.parametrize("status", [503, 0])
def test_a_commit_whose_answers_are_lost(busy, s3_url, s3_options, quick, status):
    store = open_store(s3_url, **s3_options | {"endpoint": busy.url})
    shard = write_shard(store, 0)
    busy.busy(0.3, status, after=True)
    assert commit(store, manifest(writer="me", shards=(shard,)), base=0).snapshot == 1
    assert read_manifest(store).writer == "me"
    busy.busy(0.3, status, after=True)
    store.put("x", b"1")
    with pytest.raises(ConflictError):
        store.put("x", b"1")


def test_a_deadline_that_passes_during_a_retry_reports_why_the_store_refused(quick):
    answers = [ValueError("SlowDown"), SearchTimeoutError("did not answer")]

    def ask():
        raise answers.pop(0)

    with pytest.raises(ValueError, match="SlowDown"):
        retrying.persist(ask, lambda _: 180.0, "here")
    answers.append(SearchTimeoutError("did not answer"))
    with pytest.raises(SearchTimeoutError):
        retrying.persist(ask, lambda _: 180.0, "here")


def test_a_deadline_bounds_what_is_repeated(busy, s3_url, s3_options):
    store = open_store(s3_url, **s3_options | {"endpoint": busy.url})
    store.put("x", bytes(100))
    busy.busy(60)
    out = np.zeros(100, np.uint8)
    begun = time.monotonic()
    with no_later_than(time.monotonic() + 3), pytest.raises(StoreError, match="fewer requests"):
        store.read_into("x", [0, 50], [50, 100], out)
    assert time.monotonic() - begun < 30  # and not the three minutes that a build is given
    busy.busy(0)


SAID = {
    "<Code>RequestTimeTooSkewed</Code><Message>The difference between</Message>": "clock is wrong",
    "<Code>ExpiredToken</Code><Message>x</Message>": "expired: log in again",
    "<Code>InvalidAccessKeyId</Code>": "this access key does not exist",
    "<Code>SignatureDoesNotMatch</Code>": "check the keys: the secret key",
    "<Code>InvalidToken</Code>": "AWS_SESSION_TOKEN",
    "<Code>NoSuchBucket</Code>": "create it or correct the URL",
    "<Code>PermanentRedirect</Code>": "another region",
    "<Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; expecting 'eu-west-3'</Message>": "pass region=",
    "<Code>InvalidObjectState</Code>": "archived",
    "<Code>KMS.DisabledException</Code>": "kms:Decrypt",
    "<Code>AccessDenied</Code><Message>User is not authorized to perform: kms:GenerateDataKey</Message>": "kms:Decrypt",
    "<Code>AccessDenied</Code><Message>Access Denied</Message>": "without s3:ListBucket",
    "<Code>SlowDown</Code>": "fewer requests",
    "Server returned non-2xx status code: 403 Forbidden: ": "s3:GetObject",
    "Server returned non-2xx status code: 501 Not Implemented": "lacks a feature of S3",
    "error sending request: invalid peer certificate: UnknownIssuer": "certificate is not trusted",
    "error sending request: dns error": "cannot be reached",
}


@pytest.mark.parametrize("text", SAID)
def test_what_the_store_said_comes_with_advice(text):
    whole = f"Generic S3 error: Error performing GET http://127.0.0.1:503/501/x in 4 ms - {text}"
    assert SAID[text] in explain_store(whole, "read")
    assert passes(whole) == (text.startswith("error sending") or "SlowDown" in text)


def test_advice_names_the_right_that_is_lacking():
    for action, right in (("list", "ListBucket"), ("write", "PutObject"), ("delete", "DeleteObject")):
        assert f"this needs s3:{right}" in explain_store("<Code>AccessDenied</Code>", action)


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.EACCES, "check the owner"),
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "read-only"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EIO, "disk"),
    ],
)
def test_what_the_system_said_comes_with_advice(tmp_path, monkeypatch, number, word):
    assert word in explain_system(OSError(number, os.strerror(number)))

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    store = open_store(tmp_path)
    monkeypatch.setattr("vsearch.storage.files.writing.write_batch", fail)
    with pytest.raises(StoreError) as caught:
        write_shard(store, 0)
    full = ("free" in str(caught.value)) or ("full" in str(caught.value))
    assert full == (number == errno.ENOSPC)


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(StoreError, match="longer than the file system allows"):
        open_store(tmp_path / ("x" * 300)).put("a", b"")


OPEN_MANY = """
import os, resource, sys
import vsearch
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
opened = [vsearch.open(sys.argv[1]) for _ in range(100)]
hits = [index.search([1.0] + [0.0] * 7, k=3, where="number < 250", columns=["name"]).ids.tolist() for index in opened]
assert all(one == hits[0] for one in hits)
print(len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_a_hundred_open_indexes_hold_no_descriptors(tmp_path):
    from tests.indexes import rows, table

    vsearch.build(rows(), tmp_path / "index", attributes=table(), shards=2)
    command = [sys.executable, "-c", OPEN_MANY, tmp_path / "index"]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40


def test_mapped_memory_outlives_the_file_and_is_read_only(tmp_path):
    store = open_store(tmp_path)
    store.put("x", bytes(range(256)))
    mapped = store.memory_map("x")
    part = mapped[100:103]
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1
    store.put("x", b"other", create=False)  # by a new file under the name, so what is mapped stays
    del mapped
    threads = [threading.Thread(target=lambda: store.memory_map("x").sum()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert part.tolist() == [100, 101, 102]
