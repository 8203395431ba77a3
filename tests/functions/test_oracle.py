"""AWS's own runtime interface emulator as an oracle: the same package and event give the same answer through both.

The emulator comes inside the wheel of aws-sam-cli (``samcli/local/rapid``). It is found where that is installed: in this
environment, or in that of the ``sam`` on the path; or ``VSEARCH_RIE`` names the unpacked binary.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from platform import machine

import pytest

import vsearch
from tests.fanout.conftest import make_sample
from tests.seaweed import free_ports
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.packages import runtime_folder, unpack
from vsearch.faas.platform import Platform
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.messages import Options, SearchRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.where import encode_where


def find_emulator():
    if os.environ.get("VSEARCH_RIE"):
        return os.environ["VSEARCH_RIE"]
    arch = {"aarch64": "arm64"}.get(machine(), machine())
    found = importlib.util.find_spec("samcli")
    homes = [Path(found.origin).parent] if found and found.origin else []
    if shutil.which("sam"):
        homes += Path(shutil.which("sam")).resolve().parents[1].glob("lib/python3*/site-packages/samcli")
    binaries = [home / "local" / "rapid" / f"aws-lambda-rie-{arch}" for home in homes]
    return next((str(path) for path in binaries if path.is_file()), None)


EMULATOR = find_emulator()


def post(url, body):
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as reply:
        return reply.read()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    vectors, attributes, queries = make_sample(500, 16, 4)
    url = str(tmp_path_factory.mktemp("oracle") / "index")
    vsearch.build(vectors, url, attributes, shards=2, partitions=8)
    return url, queries


def message_event(queries):
    options = Options(k=5, where=encode_where("year > 2000"), columns=("word",))
    request = SearchRequest(count=24, dimensions=16, queries=queries.tobytes(), options=options, mode="alone")
    return to_event(wire.encode(request))


def message_facts(reply):
    answer = open_reply(Envelope(), from_event(reply), "o")
    return [
        getattr(answer, name) for name in ("found", "rows", "scores", "ids", "columns", "counters", "plan", "snapshot")
    ]


def web_request(queries):
    body = json.dumps({"vectors": queries.tolist(), "k": 5, "where": "year > 2000", "columns": ["word"]})
    request = {"http": {"method": "POST", "path": "/search"}}
    return {
        "version": "2.0",
        "requestContext": request,
        "rawPath": "/search",
        "headers": {"x-api-key": "k"},
        "body": body,
    }


def web_facts(reply):
    body = json.loads(reply["body"])
    return [reply["statusCode"], reply["headers"], body["hits"], body["complete"], body["snapshot"], body["plan"]]


@pytest.mark.skipif(not EMULATOR, reason="aws-sam-cli is not installed")
@pytest.mark.parametrize(
    ("handler", "make_event", "facts"),
    [("coordinator", message_event, message_facts), ("http", web_request, web_facts)],
)
def test_the_emulator_of_aws_agrees(tmp_path, package, index, handler, make_event, facts):
    url, queries = index
    event, target = json.dumps(make_event(queries)).encode(), f"functions.{handler}.handler"
    variables = {"VSEARCH_INDEX": url, "VSEARCH_STACK": "o", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    variables["VSEARCH_API_KEY_SHA256"] = hashlib.sha256(b"k").hexdigest()
    code, runtime = unpack(str(package.path), tmp_path / "code"), runtime_folder(tmp_path / "runtime")
    platform = Platform(tmp_path / "faas")
    front, back = free_ports(2)
    command = [EMULATOR, "--runtime-interface-emulator-address", f"127.0.0.1:{front}"]
    command += ["--runtime-api-address", f"127.0.0.1:{back}", sys.executable, "-S", "-m", "awslambdaric", target]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{code}:{runtime}", **variables}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=code, env=environment, stdout=log, stderr=log)
    try:
        platform.put(
            FunctionSpec(
                name="o", handler=target, package=str(package.path), memory=1769, timeout=30, environment=variables
            )
        )
        ours = platform.invoke("o", event)
        assert (ours.status, ours.error) == (200, None)
        for _ in range(100):
            try:
                theirs = post(f"http://127.0.0.1:{front}/2015-03-31/functions/function/invocations", event)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        assert facts(json.loads(ours.body)) == facts(json.loads(theirs))
    finally:
        process.kill()
        process.wait()
        platform.close()
