"""AWS's own runtime interface emulator as an oracle: the same package and event give the same answer through both.

The emulator comes inside the wheel of aws-sam-cli (``samcli/local/rapid``); ``VSEARCH_RIE`` names the unpacked binary.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import vsearch
from tests.fanout.conftest import make_sample
from tests.seaweed import _free_ports
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.packages import runtime_folder, unpack
from vsearch.faas.platform import Platform
from vsearch.fanout import messages
from vsearch.fanout.mail import Mail, from_event, to_event
from vsearch.fanout.messages import Options, SearchRequest
from vsearch.fanout.web import encode_where
from vsearch.fanout.worker import open_reply

EMULATOR = os.environ.get("VSEARCH_RIE")


def post(url, body):
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as reply:
        return reply.read()


@pytest.mark.skipif(not EMULATOR, reason="VSEARCH_RIE names no runtime interface emulator")
def test_the_emulator_of_aws_agrees(tmp_path, package):
    vectors, attributes, queries = make_sample(500, 16, 4)
    url = str(tmp_path / "index")
    vsearch.build(vectors, url, attributes, shards=2, partitions=8)
    request = SearchRequest(
        count=24,
        dimensions=16,
        queries=queries.tobytes(),
        options=Options(k=5, where=encode_where("year > 2000"), columns=("word",)),
        mode="alone",
    )
    event = json.dumps(to_event(messages.encode(request))).encode()
    variables = {"VSEARCH_INDEX": url, "VSEARCH_STACK": "o", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    code, runtime = unpack(str(package.path), tmp_path / "code"), runtime_folder(tmp_path / "runtime")
    platform = Platform(tmp_path / "faas")
    front, back = _free_ports(2)
    command = [EMULATOR, "--runtime-interface-emulator-address", f"127.0.0.1:{front}"]
    command += ["--runtime-api-address", f"127.0.0.1:{back}", sys.executable, "-S", "-m", "awslambdaric"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{code}:{runtime}", **variables}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "functions.coordinator.handler"], cwd=code, env=environment, stdout=log, stderr=log
        )
    try:
        platform.put(
            FunctionSpec(
                name="o",
                handler="functions.coordinator.handler",
                package=str(package.path),
                memory=1769,
                timeout=30,
                environment=variables,
            )
        )
        ours = platform.invoke("o", event)
        for _ in range(100):
            try:
                theirs = post(f"http://127.0.0.1:{front}/2015-03-31/functions/function/invocations", event)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        left, right = (open_reply(Mail(), from_event(json.loads(body)), "o") for body in (ours.body, theirs))
        for name in ("found", "rows", "scores", "ids", "columns", "counters", "plan", "snapshot"):
            assert getattr(left, name) == getattr(right, name), name
    finally:
        process.kill()
        process.wait()
        platform.close()
