"""Faults between all parts of a running stack: the answer is right, or an error that says what is wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

import vsearch
from tests.functions import troubled
from tests.functions.deployment import PREDICATES, SHARDS, deploy
from tests.functions.proxy import Proxy

TIMEOUT = 60.0  # seconds; generous, as a machine may be busy
HANGING = 5.0  # the timeout of a function that is going to hang
PASSING = {
    "processor-1": ["exit", "kill", "raise", "garble", "nonsense", "hang", "memory"],
    "allocator": ["kill", "garble", "raise", "hang"],
    "coordinator": ["exit", "nonsense"],
}
SPOILED = {
    "manifest/": ["truncate", "flip"],
    "model/": ["flip"],
    "-partitions": ["gone"],
    "-codes": ["refuse", "truncate", "flip"],
    "-cells": ["fail", "flip"],
    "-attributes": ["flip"],
}
PLAN = {"k": 8, "allocators": 3, "branching": 2}


@pytest.fixture(scope="module")
def stack(tmp_path_factory, s3_server, package, built):
    folder = tmp_path_factory.mktemp("troubled")
    with zipfile.ZipFile(package.path) as archive:
        archive.extractall(folder / "package")
    (folder / "package" / "troubled.py").write_text(Path(troubled.__file__).read_text())
    for role in ("coordinator", "allocator", "processor", "http"):
        name = folder / "package" / f"troubled_{role}.py"
        name.write_text(f"import troubled\n\nhandler = troubled.wrap({role!r})\n")
    (folder / "trouble").mkdir()
    proxy = Proxy(s3_server.endpoint)
    with deploy(
        folder / "faas",
        folder / "package",
        proxy.url,
        *built,
        stack="f",
        module="troubled_{}",
        timeout=TIMEOUT,
        memory=420,
        TROUBLE=str(folder / "trouble"),
    ) as found:
        found.proxy, found.trouble, found.hastened = proxy, folder / "trouble", set()
        yield found
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture(autouse=True)
def calm(stack):
    stack.proxy.spoil("", "", 0)
    for path in stack.trouble.iterdir():
        path.unlink()
    yield
    while stack.hastened:
        stack.platform.evict_idle(stack.hastened.pop())


def cause(stack, function, kind, times):
    if kind == "hang":
        hasten(stack, function)
    for i in range(times):
        (stack.trouble / f"f-{function}.{i:03d}").write_text(kind)


def hasten(stack, function):
    """Shorten the timeout of a function's environments; those that replace them have the generous one."""
    stack.remote.search(stack.queries, where=PREDICATES[1], **PLAN)
    stack.hastened.add(f"f-{function}")
    idle = stack.platform._functions[f"f-{function}"].idle
    assert idle
    for environment in idle:
        environment.spec = msgspec.structs.replace(environment.spec, timeout=HANGING)


def assert_right(stack, hits, where=None):
    ids, scores = stack.reference[PREDICATES.index(where)]
    assert hits.complete
    assert hits.ids.tolist() == ids
    there = ~np.isnan(hits.scores)
    assert hits.scores[there].view("i4").tolist() == np.array(scores, "i4")[there].tolist()


@pytest.mark.parametrize(("edge", "kind"), [(edge, kind) for edge, kinds in PASSING.items() for kind in kinds])
def test_one_failure_is_made_good(stack, edge, kind):
    cause(stack, edge, kind, 1)
    where = PREDICATES[1]
    assert_right(stack, stack.remote.search(stack.queries, where=where, **PLAN), where)
    assert not list(stack.trouble.iterdir())


@pytest.mark.parametrize(
    ("kind", "named"), [("exit", "crash"), ("raise", "crash"), ("garble", "malformed"), ("large", "too large")]
)
def test_what_stays_is_an_error_that_names_the_shard_and_the_kind(stack, kind, named):
    cause(stack, "processor-1", kind, 30)
    with pytest.raises(vsearch.IncompleteAnswerError, match=rf"shards 1 failed \({named}"):
        stack.remote.search(stack.queries, 8, mode="flat")
    cause(stack, "processor-1", kind, 30)
    partial = stack.remote.search(stack.queries, 8, mode="flat", allow_partial=True)
    assert not partial.complete
    assert {(outcome.shard, outcome.error) for outcome in partial.failed} == {(1, named)}
    rows = set(partial.ids[partial.ids >= 0].tolist())
    assert rows
    assert not partial.failed[0].message.count("Traceback")


@pytest.mark.parametrize("edge", ["allocator", "coordinator"])
def test_an_allocator_or_coordinator_that_stays_away_is_an_error(stack, edge):
    cause(stack, edge, "exit", 60)
    with pytest.raises(vsearch.RemoteError if edge == "coordinator" else vsearch.IncompleteAnswerError):
        stack.remote.search(stack.queries, **PLAN)


@pytest.mark.parametrize(("file", "kind"), [(file, kind) for file, kinds in SPOILED.items() for kind in kinds])
def test_one_spoiled_read_is_made_good(stack, file, kind):
    where = PREDICATES[1]
    # what only processors read, one of them does; each process takes a quarter of a second to start
    stack.platform.evict_idle("f-processor-1" if file in ("-codes", "-cells", "-attributes") else None)
    stack.proxy.spoil(kind, file, 1)
    asked = {"mode": "flat", "where": where}
    assert_right(stack, stack.remote.search(stack.queries, 8, **asked), where)
    assert stack.proxy.left == 0
    warm = stack.remote.search(stack.queries, 8, **asked)
    assert_right(stack, warm, where)
    assert warm.bill.usages.processor.requests == 0


@pytest.mark.parametrize(
    ("kind", "named", "error"),
    [
        ("refuse", "store", vsearch.IncompleteAnswerError),
        ("gone", "missing", vsearch.IncompleteAnswerError),
        ("flip", "corrupt", vsearch.IncompleteAnswerError),
    ],
)
def test_reads_that_stay_spoiled_are_an_error_that_names_the_file(stack, kind, named, error):
    stack.platform.evict_idle()
    stack.proxy.spoil(kind, "-codes", 10_000)
    with pytest.raises(error, match=named):
        stack.remote.search(stack.queries, 8, mode="flat")
    partial = stack.remote.search(stack.queries, 8, mode="flat", allow_partial=True)
    assert {outcome.shard for outcome in partial.failed} == set(range(SHARDS))
    assert np.isnan(partial.scores).all()
    stack.proxy.spoil("", "", 0)
    assert_right(stack, stack.remote.search(stack.queries, 8, mode="flat"))
