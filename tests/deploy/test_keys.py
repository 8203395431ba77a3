"""An index in a bucket encrypted with a key: built, detected, and searched."""

from __future__ import annotations

import boto3
import pytest
from moto.server import ThreadedMotoServer

import vsearch
from tests.fanout.conftest import make_sample
from vsearch.deploy.aws.keys import encryption_key
from vsearch.deploy.aws.template import StackSpec, make_templates


@pytest.fixture
def endpoint(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.mark.slow
def test_an_index_in_an_encrypted_bucket(endpoint):
    session = boto3.Session()
    client = session.client("s3")
    client.create_bucket(Bucket="data")
    key = session.client("kms").create_key()["KeyMetadata"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}}
    client.put_bucket_encryption(Bucket="data", ServerSideEncryptionConfiguration={"Rules": [rule]})

    vectors, attributes, queries = make_sample(300, 16, 2)
    vsearch.build(vectors, "s3://data/index", attributes, shards=2, partitions=6, endpoint=endpoint)
    objects = client.list_objects_v2(Bucket="data")["Contents"]
    assert len(objects) > 4
    for each in objects:
        found = client.head_object(Bucket="data", Key=each["Key"])
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key["Arn"])
    index = vsearch.open("s3://data/index", endpoint=endpoint)
    assert index.search(queries, k=3, where="year > 2000").ids.shape == (len(queries), 3)

    assert encryption_key("data", session) == key["Arn"]
    spec = StackSpec("words", "s3://data/index", 2, "s3://data/vsearch/stacks/words/a.zip", kms_key=key["Arn"])
    assert make_templates(spec).root["Parameters"]["KmsKey"]["Default"] == key["Arn"]
