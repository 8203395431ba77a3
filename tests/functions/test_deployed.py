"""From `vsearch deploy` to an answer: what the account then holds is run as it stands, and answers as the index does."""

from __future__ import annotations

import hashlib
import json
import urllib.request

import boto3
import numpy as np
import pytest

import vsearch
from tests.deploy.aws import account
from tests.fanout.conftest import make_sample
from vsearch.deploy.aws import stacks
from vsearch.deploy.aws.rendering import transform
from vsearch.deploy.aws.template import StackSpec
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.platform import Limits, Platform
from vsearch.faas.server import Server

URL = "s3://vsearch/deployed/index"
KEY = "an api key"


@pytest.fixture
def session(monkeypatch):
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "any"),
        ("AWS_SECRET_ACCESS_KEY", "any"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with account():
        made = boto3.Session()
        made.client("s3").create_bucket(Bucket="code")
        yield made


def run_what_is_there(session, platform, folder):
    """Put every function of the account onto a local platform, from its configuration and its code in the bucket."""
    pages = session.client("lambda").get_paginator("list_functions").paginate()
    keys = [each["Key"] for each in session.client("s3").list_objects_v2(Bucket="code")["Contents"]]
    (code,) = [key for key in keys if key.endswith(".zip")]
    package = folder / "package.zip"
    package.write_bytes(session.client("s3").get_object(Bucket="code", Key=code)["Body"].read())
    names = []
    for found in (each for page in pages for each in page["Functions"]):
        names.append(found["FunctionName"])
        platform.put(
            FunctionSpec(
                name=found["FunctionName"],
                handler=found["Handler"],
                package=str(package),
                memory=found["MemorySize"],
                timeout=found["Timeout"],
                environment=found["Environment"]["Variables"],
            )
        )
    return set(names)


def test_what_was_deployed_answers(tmp_path, s3_server, package, session):
    vectors, attributes, queries = make_sample(600, 24, 3)
    index = vsearch.build(vectors, URL, attributes, shards=2, partitions=12, **s3_server.options())
    spec = StackSpec(
        "words",
        URL,
        2,
        stacks.package_url(package, "code", "words"),
        timeout=30,
        api_key_sha256=hashlib.sha256(KEY.encode()).hexdigest(),
    )
    stacks.upload(package, spec.code, session)
    done = stacks.deploy(spec, session, transform=transform)
    platform = Platform(tmp_path, Limits(environments=8))
    server = Server(platform)
    server.start()
    platform.variables |= {
        "AWS_ENDPOINT_URL_LAMBDA": server.url,
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    try:
        assert run_what_is_there(session, platform, tmp_path) == set(done.functions)
        remote = vsearch.open("lambda://words", endpoint=server.url)
        assert remote.warm(2) > 0
        for where in (None, "price < 43.21 AND year >= 2001"):
            expected = index.search(queries, k=5, where=where)
            for mode in ("flat", "tree"):
                hits = remote.search(queries, k=5, where=where, mode=mode)
                assert hits.ids.tolist() == expected.ids.tolist()
                np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-5)
                assert hits.bill.usages.total.cold_starts == 0
        body = json.dumps({"vector": queries[0].tolist(), "k": 5, "where": "year >= 2001"}).encode()
        request = urllib.request.Request(f"{server.url}/url/words-http/search", body, {"x-api-key": KEY})
        with urllib.request.urlopen(request) as reply:
            hits = json.loads(reply.read())["hits"][0]
        assert [hit["id"] for hit in hits] == index.search(queries[0], k=5, where="year >= 2001").ids[0].tolist()
        remote.close()
    finally:
        server.stop()
    assert stacks.undeploy("words", session)
    assert session.client("s3").list_objects_v2(Bucket="code")["KeyCount"] == 0
