"""An index on a real S3 server, its functions on the local FaaS, and the answers that they have to give."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np

import vsearch
from tests.fanout.conftest import make_sample
from vsearch.api.remote_opening import open_remote
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.platform import Limits, Platform
from vsearch.faas.server import Server
from vsearch.fanout.platforms.network import LambdaInvoker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Options, SearchRequest, floats, int32s
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.values import to_values
from vsearch.fanout.wire.where import encode_where

SHARDS = 4
WRITER_KEYS = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writer-secret"}
KEY, WRITE_KEY = "an api key", "a write key"
URL = "s3://vsearch/end-to-end/index"
PREDICATES = [None, "price < 43.21 AND year >= 2001", "word = 'w3' OR tags @> ARRAY['t1']"]

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


class Deployed:
    """A stack that is up, queries, and the answers of the index to them: in a process of its own, by the same kernels."""

    def __init__(self, server, stack, queries, reference, url):
        self.server, self.stack, self.queries, self.reference, self.url = server, stack, queries, reference, url
        self.platform = server.platform
        self.remote = open_remote(f"lambda://{stack}", endpoint=server.url)
        self.invoker = LambdaInvoker(endpoint=server.url)

    def search(self, where=None, invoker=None, **more):
        request = SearchRequest(
            count=len(self.queries),
            dimensions=24,
            queries=self.queries.tobytes(),
            options=Options(k=8, where=encode_where(where)),
            **more,
        )
        function = f"{self.stack}-coordinator"
        reply = (invoker or self.invoker).invoke(function, wire.encode(request), 120)
        return open_reply(Envelope(), reply, function)


def assert_same(answer, reference):
    ids, scores = reference
    found = [sum(one != -1 for one in row) for row in ids]
    assert int32s(answer.found).tolist() == found
    assert to_values(answer.ids) == [one for row in ids for one in row if one != -1]
    expected = [s for row, kept in zip(scores, found, strict=True) for s in row[:kept]]
    assert floats(answer.scores).view("<i4").tolist() == expected
    assert not answer.outcomes


def build_index(folder, s3_server, kernels):
    """Queries, and the reference answers to them."""
    vectors, attributes, queries = make_sample(1200, 24, 3)
    vsearch.build(vectors, URL, attributes, shards=SHARDS, partitions=24, **s3_server.options())
    np.save(folder / "queries.npy", queries)
    environment = {name: value for name, value in os.environ.items() if name not in ("VSEARCH_JIT", "VSEARCH_DIALECT")}
    environment |= {
        "VSEARCH_KERNELS": str(kernels),
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    asked = [URL, s3_server.endpoint, str(folder / "queries.npy"), json.dumps(PREDICATES)]
    command = [sys.executable, "-c", REFERENCE, *asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return queries, json.loads(done.stdout)


@contextmanager
def deploy(
    folder,
    package,
    s3_endpoint,
    queries,
    reference,
    stack="e",
    module="functions.{}",
    timeout=60.0,
    memory=1769,
    changes=None,
    keep_every=None,
    **variables,
):
    """Put a stack on a FaaS of its own; `module` is where the handlers of a role are.

    With `changes`, the package of the writer and the keeper, there are these as well, the keeper every so many seconds.
    """
    platform = Platform(folder, Limits(environments=34))
    server = Server(platform)
    server.start()
    platform.variables |= {
        "AWS_ENDPOINT_URL_LAMBDA": server.url,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    variables = {
        "VSEARCH_INDEX": URL,
        "VSEARCH_STACK": stack,
        "VSEARCH_API_KEY_SHA256": hashlib.sha256(KEY.encode()).hexdigest(),
        "VSEARCH_WRITE_KEY_SHA256": hashlib.sha256(WRITE_KEY.encode()).hexdigest(),
        **variables,
    }
    handlers = {role: role for role in ("coordinator", "allocator", "http")}
    handlers |= {f"processor-{shard}": "processor" for shard in range(SHARDS)}
    handlers |= {"writer": "writer", "keeper": "keeper"} if changes is not None else {}
    for name, role in handlers.items():
        changing = role in ("writer", "keeper")
        platform.put(
            FunctionSpec(
                name=f"{stack}-{name}",
                handler=f"functions.{role}.handler" if changing else f"{module.format(role)}.handler",
                package=str(changes if changing else package),
                every=keep_every if role == "keeper" else None,
                memory=memory,
                timeout=timeout,
                environment=variables | (WRITER_KEYS if changing else {}),
            )
        )
    found = Deployed(server, stack, queries, reference, URL)
    try:
        yield found
    finally:
        found.invoker.close()
        found.remote.close()
        server.stop()
