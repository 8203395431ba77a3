"""The whole way: an index on a real S3 server, real packages in real runtime processes, and the answers of the index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.functions.deployment import KEY, PREDICATES, SHARDS, assert_same
from vsearch.deploy.packages import LARGEST_UNZIPPED
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.platforms.network import HttpInvoker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.values import to_values


def test_the_package_is_small(package):
    assert package.unzipped <= LARGEST_UNZIPPED
    assert package.zipped < 50 * 1024 * 1024


#: Three levels of few functions: each that runs at the same time is a process to start.
TREE = {"allocators": 6, "branching": 2}


@pytest.mark.parametrize("plan", [{"mode": "flat"}, {"mode": "alone"}, TREE])
@pytest.mark.parametrize("number", range(len(PREDICATES)))
def test_answers_are_those_of_the_index(deployed, plan, number):
    assert_same(deployed.search(PREDICATES[number], **plan), deployed.reference[number])


def test_a_tree_of_more_functions_than_may_run_at_once(deployed):
    assert_same(deployed.search(PREDICATES[1], allocators=20, branching=4), deployed.reference[1])


def test_warm_functions_read_nothing(deployed):
    deployed.server.platform.evict_idle()
    cold = deployed.search(PREDICATES[1], mode="flat", snapshot=1)
    warm = deployed.search(PREDICATES[1], mode="flat", snapshot=1)
    assert cold.usages.total.cold_starts == 1 + SHARDS
    assert cold.usages.processor.requests > 0
    assert warm.usages.total.cold_starts == 0
    assert warm.usages.total.requests == 0
    assert warm.rows == cold.rows


def test_warm_functions_of_a_tree_read_nothing(deployed):
    warm = set()
    for _ in range(5):
        answer = deployed.search(PREDICATES[1], **TREE, snapshot=1)
        assert_same(answer, deployed.reference[1])
        usage = answer.usages.allocator
        assert usage.invocations - usage.failures == TREE["allocators"]  # those that were throttled are called again
        for role in ("coordinator", "allocator", "processor"):
            usage = getattr(answer.usages, role)
            if usage.cold_starts == 0:  # how many environments are warm depends on how many ran side by side before
                assert usage.requests == 0
                warm.add(role)
    assert warm


def test_processors_killed_between_searches_change_no_answer(deployed):
    answer = deployed.search(mode="flat")
    function = deployed.server.platform._functions["e-processor-1"]
    for environment in function.idle:
        environment._thaw()
        os.kill(environment.pid, 9)
    assert_same(answer, deployed.reference[0])
    again = deployed.search(mode="flat")
    assert_same(again, deployed.reference[0])
    assert again.usages.processor.cold_starts >= 1


def test_a_function_that_is_gone_is_an_error_that_names_the_shard(deployed):
    spec = deployed.server.platform.spec("e-processor-2")
    deployed.server.platform.remove("e-processor-2")
    try:
        with pytest.raises(CallError, match="shards 2 failed") as caught:
            deployed.search(mode="flat")
        assert caught.value.kind is ErrorKind.ABSENT
        partial = deployed.search(mode="flat", allow_partial=True)
        assert {outcome.shard for outcome in partial.outcomes} == {2}
    finally:
        deployed.server.platform.put(spec)


def test_throttled_processors_are_waited_for(deployed):
    spec = deployed.server.platform.spec("e-processor-3")
    try:
        deployed.server.platform.put(msgspec.structs.replace(spec, concurrency=1))
        with ThreadPoolExecutor(3) as pool:
            for answer in pool.map(lambda _: deployed.search(mode="flat"), range(3)):
                assert_same(answer, deployed.reference[0])
    finally:
        deployed.server.platform.put(spec)


def test_json_over_http(deployed):
    url = f"{deployed.server.url}/url/e-http"
    body = {"vector": deployed.queries[0].tolist(), "k": 8, "where": {"year": {"$gte": 1990}}, "columns": ["word"]}

    def post(key):
        request = urllib.request.Request(f"{url}/search", json.dumps(body).encode(), {"x-api-key": key})
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read())

    found = post(KEY)
    assert [hit["id"] for hit in found["hits"][0]] == deployed.reference[0][0][0]
    assert found["complete"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        post("wrong")
    caught.value.close()
    assert caught.value.code == 401
    with urllib.request.urlopen(f"{url}/openapi.json") as reply:
        assert json.loads(reply.read())["openapi"] == "3.1.0"


@pytest.mark.parametrize("handler", ["e-coordinator", "e-allocator", "e-processor-0", "e-http"])
def test_any_event_gets_an_answer_without_a_trace(deployed, handler):
    invoke = deployed.server.platform.invoke
    events = [
        None,
        1,
        [],
        {},
        {"vsearch": 1},
        {"vsearch": "%%"},
        to_event(b""),
        to_event(b"vsm\0123"),
        {"requestContext": {}},
    ]
    events += [to_event(wire.seal(bytes(np.random.default_rng(i).integers(0, 256, 60, np.uint8)))) for i in range(6)]
    for event in events:
        reply = invoke(handler, json.dumps(event).encode())
        assert (reply.status, reply.error) == (200, None)
        assert b"Traceback" not in reply.body
        answer = json.loads(reply.body)
        if handler == "e-http":
            assert 400 <= answer["statusCode"] < 500
        else:
            sent = from_event(answer)
            with pytest.raises(CallError) as caught:
                open_reply(Envelope(), sent, handler)
            assert caught.value.kind is ErrorKind.REFUSED


def test_functions_framework_serves_the_same(deployed, tmp_path, s3_server):
    pytest.importorskip("functions_framework")
    from tests.seaweed import free_ports

    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "VSEARCH_INDEX": deployed.url,
        "VSEARCH_STACK": "e",
        "VSEARCH_INVOKER": f"http://127.0.0.1:{port}/{{function}}",
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
        "PORT": str(port),
    }
    import functions

    source = str(Path(functions.__file__).with_name("framework.py"))
    command = [
        sys.executable,
        "-m",
        "functions_framework",
        "--source",
        source,
        "--target",
        "coordinator",
        "--host",
        "127.0.0.1",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        invoker = HttpInvoker(f"http://127.0.0.1:{port}/{{function}}")
        for _ in range(300):
            try:
                answer = deployed.search(mode="alone", invoker=invoker)
                break
            except CallError as error:
                if error.kind is not ErrorKind.UNREACHABLE:
                    raise
                time.sleep(0.1)
        assert to_values(answer.ids) == [one for row in deployed.reference[0][0] for one in row]
        invoker.close()
    finally:
        os.killpg(process.pid, 15)
        process.wait()
