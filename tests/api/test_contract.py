"""One suite for every kind of index: in a folder, in S3, behind workers here, and behind functions on the local FaaS."""

from __future__ import annotations

import pytest

import vsearch
from tests.fanout.conftest import run_of
from tests.functions.deployment import deploy
from vsearch.api.remote_index import RemoteIndex
from vsearch.api.remote_reading import RemoteReading
from vsearch.api.remote_refusals import RefusesChanges
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store
from vsearch.testing.indexes import IndexContract, make_collection

OPTIONS = {"metric": "l2", "shards": 2, "partitions": 8, "text": "text"}
ANSWERED = {"get", "count"}
REFUSED = (
    "snapshots",
    "tune",
    *(name for name in vars(RefusesChanges) if not name.startswith("_")),
    *(name for name in vars(RemoteReading) if not name.startswith("_") and name not in ANSWERED),
)


@pytest.fixture(scope="module")
def collection():
    return make_collection()


class TestInAFolder(IndexContract):
    @pytest.fixture(scope="class", params=[False, True], ids=["alone", "spilled"])
    @classmethod
    def opened(cls, request, collection, tmp_path_factory):
        c, folder = collection, tmp_path_factory.mktemp("contract") / "i"
        index = vsearch.build(c.vectors, folder, c.attributes, c.ids, spill=request.param, **OPTIONS)
        return c.opened(index)


class TestInS3(IndexContract):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, collection, s3_server):
        c, url = collection, "s3://vsearch/contract/index"
        vsearch.build(c.vectors, url, c.attributes, c.ids, **OPTIONS, **s3_server.options())
        return c.opened(vsearch.open(url, **s3_server.options()))


class TestBehindWorkers(IndexContract):
    """The roles of a stack in this process, which call each other by name."""

    @pytest.fixture(scope="class", params=[False, True], ids=["alone", "spilled"])
    @classmethod
    def opened(cls, request, collection):
        c, url, names = collection, f"memory://contract-{request.param}/index", Names("contract")
        vsearch.build(c.vectors, url, c.attributes, c.ids, spill=request.param, **OPTIONS)

        def make(function):
            role = names.role(function)
            return Worker.open(role, open_store(url), function, invoker=local, names=names, run=run_of(role))

        local = LocalInvoker(make)
        return c.opened(RemoteIndex("test://contract", names, local, Envelope()), *REFUSED)


@pytest.mark.slow
class TestBehindFunctions(IndexContract):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, collection, s3_server, package, changes_package, keys, tmp_path_factory):
        c, url = collection, "s3://vsearch/contract/functions"
        vsearch.build(c.vectors, url, c.attributes, c.ids, **OPTIONS, **s3_server.options())
        folder = tmp_path_factory.mktemp("faas")
        options = {"changes": changes_package.path, "VSEARCH_INDEX": url}
        with deploy(folder, package.path, s3_server.endpoint, c.queries, None, "contract", **options) as stack:
            yield c.opened(stack.remote, *REFUSED)
