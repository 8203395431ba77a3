"""The whole way: an index on a real S3 server, real packages in real runtime processes, and the answers of the index."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import make_sample
from vsearch.deploy.packages import LARGEST_UNZIPPED, build_package
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.platform import Limits, Platform
from vsearch.faas.server import Server
from vsearch.fanout import messages
from vsearch.fanout.mail import Mail, from_event, to_event
from vsearch.fanout.messages import Options, SearchRequest, floats, int32s
from vsearch.fanout.outcomes import CallError, Kind
from vsearch.fanout.remote_invokers import HttpInvoker, LambdaInvoker
from vsearch.fanout.values import to_values
from vsearch.fanout.web import encode_where
from vsearch.fanout.worker import open_reply

SHARDS = 4
KEY = "an api key"

REFERENCE = """
import sys, json, numpy as np, vsearch
index = vsearch.open(sys.argv[1], endpoint=sys.argv[2])
queries = np.load(sys.argv[3])
out = []
for where in json.loads(sys.argv[4]):
    hits = index.search(queries, k=8, where=where)
    out.append([hits.ids.tolist(), hits.scores.view("i4").tolist()])
print(json.dumps(out))
"""
PREDICATES = [None, "price < 43.21 AND year >= 2001", "word = 'w3' OR tags @> ARRAY['t1']"]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory, s3_server, package, kernels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        yield from deploy(tmp_path_factory, s3_server, package, kernels)


def deploy(tmp_path_factory, s3_server, package, kernels):
    vectors, attributes, queries = make_sample(1200, 24, 3)
    url = "s3://vsearch/end-to-end/index"
    vsearch.build(vectors, url, attributes, shards=SHARDS, partitions=24, **s3_server.options())
    folder = tmp_path_factory.mktemp("faas")
    platform = Platform(folder, Limits(environments=34))
    server = Server(platform)
    server.start()
    platform.variables |= {
        "AWS_ENDPOINT_URL_LAMBDA": server.url,
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    variables = {
        "VSEARCH_INDEX": url,
        "VSEARCH_STACK": "e",
        "VSEARCH_API_KEY_SHA256": hashlib.sha256(KEY.encode()).hexdigest(),
    }
    handlers = {"e-coordinator": "coordinator", "e-allocator": "allocator", "e-http": "http"}
    handlers |= {f"e-processor-{shard}": "processor" for shard in range(SHARDS)}
    for name, handler in handlers.items():
        platform.put(
            FunctionSpec(
                name=name,
                handler=f"functions.{handler}.handler",
                package=str(package.path),
                memory=1769,
                timeout=60,
                environment=variables,
            )
        )
    np.save(folder / "queries.npy", queries)
    environment = {name: value for name, value in os.environ.items() if name not in ("VSEARCH_JIT", "VSEARCH_DIALECT")}
    environment |= {
        "VSEARCH_KERNELS": str(kernels),
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    command = [
        sys.executable,
        "-c",
        REFERENCE,
        url,
        s3_server.endpoint,
        str(folder / "queries.npy"),
        json.dumps(PREDICATES),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = Deployed(server, queries, json.loads(done.stdout), url)
    yield found
    found.invoker.close()
    server.stop()


class Deployed:
    def __init__(self, server, queries, reference, url):
        self.server, self.queries, self.reference, self.url = server, queries, reference, url
        self.invoker = LambdaInvoker(endpoint=server.url)

    def search(self, where=None, invoker=None, **more):
        request = SearchRequest(
            count=len(self.queries),
            dimensions=24,
            queries=self.queries.tobytes(),
            options=Options(k=8, where=encode_where(where)),
            **more,
        )
        reply = (invoker or self.invoker).invoke("e-coordinator", messages.encode(request), 120)
        return open_reply(Mail(), reply, "e-coordinator")


def assert_same(answer, reference):
    ids, scores = reference
    found = [sum(one != -1 for one in row) for row in ids]
    assert int32s(answer.found).tolist() == found
    assert to_values(answer.ids) == [one for row in ids for one in row if one != -1]
    expected = [s for row, kept in zip(scores, found, strict=True) for s in row[:kept]]
    assert floats(answer.scores).view("<i4").tolist() == expected
    assert not answer.outcomes


def test_the_package_is_small(package):
    assert package.unzipped <= LARGEST_UNZIPPED
    assert package.zipped < 50 * 1024 * 1024


def test_the_same_content_makes_the_same_package(tmp_path, package, kernels):
    assert build_package(tmp_path / "again.zip", kernels=kernels).sha256 == package.sha256


@pytest.mark.parametrize("plan", [{"mode": "flat"}, {"mode": "alone"}, {"allocators": 20, "branching": 4}])
@pytest.mark.parametrize("number", range(len(PREDICATES)))
def test_answers_are_those_of_the_index(deployed, plan, number):
    assert_same(deployed.search(PREDICATES[number], **plan), deployed.reference[number])


def test_warm_functions_read_nothing(deployed):
    deployed.server.platform.chill()
    cold = deployed.search(PREDICATES[1], mode="flat", snapshot=1)
    warm = deployed.search(PREDICATES[1], mode="flat", snapshot=1)
    assert cold.usages.total.cold_starts == 1 + SHARDS
    assert cold.usages.processor.requests > 0
    assert warm.usages.total.cold_starts == 0
    assert warm.usages.total.requests == 0
    assert warm.rows == cold.rows


def test_a_killed_processor_is_called_again(deployed):
    answer = deployed.search(mode="flat")
    function = deployed.server.platform._functions["e-processor-1"]
    for environment in function.idle:
        environment._thaw()
        os.kill(environment.pid, 9)
    assert_same(answer, deployed.reference[0])
    assert_same(deployed.search(mode="flat"), deployed.reference[0])


def test_a_function_that_is_gone_is_an_error_that_names_the_shard(deployed):
    spec = deployed.server.platform.spec("e-processor-2")
    deployed.server.platform.remove("e-processor-2")
    try:
        with pytest.raises(CallError, match="shards 2 failed") as caught:
            deployed.search(mode="flat")
        assert caught.value.kind is Kind.ABSENT
        partial = deployed.search(mode="flat", allow_partial=True)
        assert {outcome.shard for outcome in partial.outcomes} == {2}
    finally:
        deployed.server.platform.put(spec)


def test_throttled_processors_are_waited_for(deployed):
    spec = deployed.server.platform.spec("e-processor-3")
    try:
        import msgspec

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
    events += [
        to_event(messages.seal(bytes(np.random.default_rng(i).integers(0, 256, 60, np.uint8)))) for i in range(6)
    ]
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
                open_reply(Mail(), sent, handler)
            assert caught.value.kind is Kind.REFUSED


def test_functions_framework_serves_the_same(deployed, tmp_path, s3_server):
    pytest.importorskip("functions_framework")
    from tests.seaweed import _free_ports

    (port,) = _free_ports(1)
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
        import time

        invoker = HttpInvoker(f"http://127.0.0.1:{port}/{{function}}")
        for _ in range(300):
            try:
                answer = deployed.search(mode="alone", invoker=invoker)
                break
            except CallError as error:
                if error.kind is not Kind.UNREACHABLE:
                    raise
                time.sleep(0.1)
        assert to_values(answer.ids) == [one for row in deployed.reference[0][0] for one in row]
        invoker.close()
    finally:
        os.killpg(process.pid, 15)
        process.wait()
