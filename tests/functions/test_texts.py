"""Text queries through real functions: real packages, kernels compiled ahead of time, an index on a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.encoders.models import sentences, write_model
from tests.functions.deployment import KEY, deploy
from vsearch.encoders import compress, load

URL = "s3://vsearch/texts/index"
TEXTS = sentences(200, 6)
ASKED = [*TEXTS[:3], "", "日本語 Naïve CAFÉ", "\ud800 [SEP] \0" + "a\u0301" * 1000]
OPTIONS = [{}, {"where": "number < 100", "columns": ["number"]}, {"offset": 4, "k": 3}]

REFERENCE = """
import sys, json, vsearch
index = vsearch.open(sys.argv[1], endpoint=sys.argv[2])
asked, options = json.load(sys.stdin)
out = []
for option in options:
    hits = index.search(asked, **option)
    out.append([hits.ids.tolist(), hits.scores.view("i4").tolist()])
print(json.dumps([out, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory, s3_server):
    folder = write_model(tmp_path_factory.mktemp("model"))
    attributes = pa.table({"number": np.arange(len(TEXTS))})
    made = vsearch.build(load(folder).encode(TEXTS), URL, attributes, shards=2, partitions=6, **s3_server.options())
    return made.with_encoder(compress(folder, TEXTS[:40], bits=4))


@pytest.fixture(scope="module")
def reference(index, kernels, s3_server):
    """Answers of the index in a process of its own, by the same kernels."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VSEARCH_JIT", "VSEARCH_DIALECT")}
    environment |= {
        "VSEARCH_KERNELS": str(kernels),
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    command = [sys.executable, "-c", REFERENCE, URL, s3_server.endpoint]
    asked = json.dumps([ASKED, OPTIONS])
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True)
    answers, modules = json.loads(done.stdout)
    assert {"numba", "torch"}.isdisjoint(modules)
    return answers


@pytest.fixture(scope="module")
def stack(tmp_path_factory, s3_server, package, keys, index):
    folder = tmp_path_factory.mktemp("faas")
    with deploy(folder, package.path, s3_server.endpoint, None, None, "texts", VSEARCH_INDEX=URL) as found:
        yield found


@pytest.mark.parametrize("plan", [{"mode": "alone"}, {"mode": "flat"}, {"allocators": 2}])
def test_answers_are_those_of_the_index(stack, reference, plan):
    for options, (ids, scores) in zip(OPTIONS, reference, strict=True):
        hits = stack.remote.search(ASKED, **options, **plan)
        assert hits.ids.tolist() == ids
        assert hits.scores.view("i4").tolist() == scores


def test_a_cold_coordinator_reads_the_encoder_and_a_warm_one_nothing(stack, index):
    stack.server.platform.evict_idle()
    cold = stack.remote.search(TEXTS[0], mode="alone").bill.usages.coordinator
    warm = stack.remote.search(TEXTS[1], mode="alone", freshness=600).bill.usages.coordinator
    encoder = sum(e.bytes for kind, e in index.snapshot.manifest.model.items() if kind.startswith("encoder:"))
    assert (cold.cold_starts, warm.cold_starts) == (1, 0)
    assert cold.bytes > encoder
    assert warm.bytes == 0


def post(stack, body):
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    request = urllib.request.Request(f"{stack.server.url}/url/texts-http/search", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_hostile_texts_over_http(stack):
    for text in ("a" * (1 << 20), "\0" * 1000, "a" + "\u0301" * 100_000):
        status, answer = post(stack, json.dumps({"text": text, "k": 2}, ensure_ascii=False).encode())
        assert status == 200, answer
        assert len(answer["hits"][0]) == 2
    for body in (b'{"text": "\\ud800"}', json.dumps({"text": "a" * (1 << 21)}).encode(), b'{"text": []}'):
        assert post(stack, body)[0] == 400
