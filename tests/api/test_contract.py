"""One suite for every kind of index: in a folder, in S3, and behind functions on the local FaaS."""

from __future__ import annotations

import pytest

import vsearch
from tests.functions.deployment import deploy
from vsearch.testing.indexes import IndexContract, make_collection

OPTIONS = {"metric": "l2", "shards": 2, "partitions": 8}


@pytest.fixture(scope="module")
def collection():
    return make_collection()


class TestInAFolder(IndexContract):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, collection, tmp_path_factory):
        c = collection
        index = vsearch.build(c.vectors, tmp_path_factory.mktemp("contract") / "i", c.attributes, c.ids, **OPTIONS)
        return c.opened(index)


class TestInS3(IndexContract):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, collection, s3_server):
        c, url = collection, "s3://vsearch/contract/index"
        vsearch.build(c.vectors, url, c.attributes, c.ids, **OPTIONS, **s3_server.options())
        return c.opened(vsearch.open(url, **s3_server.options()))


@pytest.mark.slow
class TestBehindFunctions(IndexContract):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, collection, s3_server, package, keys, tmp_path_factory):
        c, url = collection, "s3://vsearch/contract/functions"
        vsearch.build(c.vectors, url, c.attributes, c.ids, **OPTIONS, **s3_server.options())
        folder = tmp_path_factory.mktemp("faas")
        with deploy(folder, package.path, s3_server.endpoint, c.queries, None, "contract", VSEARCH_INDEX=url) as stack:
            yield c.opened(stack.remote, "snapshots", "tune")
