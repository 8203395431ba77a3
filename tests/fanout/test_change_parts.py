"""Rows that take several messages: each part is its own commit with its own token, and no part is larger than a function takes."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import Stack
from tests.fanout.test_changes import remote_of
from vsearch.api import remote_changes
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.change_messages import WriteRequest
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store

D = 8
VECTORS = np.random.default_rng(0).normal(size=(200, D)).astype(np.float32)


@pytest.fixture
def stack():
    url = f"memory://parts-{uuid4().hex}/index"
    return Stack(url, vsearch.build(VECTORS, url, partitions=4), VECTORS[:1])


class Recording:
    """Passes calls on; from call `failing` on they fail for good."""

    def __init__(self, stack, failing=None):
        self.stack, self.failing, self.requests = stack, failing, []

    def invoke(self, function, payload, timeout):
        request = wire.decode(payload)
        if isinstance(request, WriteRequest):
            self.requests.append(request)
            if self.failing is not None and len(self.requests) >= self.failing:
                raise CallError(ErrorKind.REFUSED, "out of order")
        return self.stack.local.invoke(function, payload, timeout)


def rows_of(stack):
    stack.index.refresh()
    return len(stack.index)


def test_tokens_that_are_long_or_alike_do_not_share_parts(stack):
    remote = remote_of(stack, Recording(stack), Envelope(4096 * 2))
    calls = []
    tokens = ["t" * 200, "t" * 199 + "u", "a", "a/1", "a/2"]
    for token in tokens:
        commit = remote.append(VECTORS, token=token, progress=lambda *call: calls.append(call))
        assert commit.added == 200
    assert len(calls) >= 2 * len(tokens)
    assert rows_of(stack) == 200 * (1 + len(tokens))


def test_a_part_that_fails_is_repeated_without_those_before_it(stack):
    failing = Recording(stack, failing=2)
    with pytest.raises(vsearch.InputError, match="out of order"):
        remote_of(stack, failing, Envelope(4096 * 2)).append(VECTORS, token="t")
    assert 200 < rows_of(stack) < 400
    assert remote_of(stack, Recording(stack), Envelope(4096 * 2)).append(VECTORS, token="t").added == 200
    assert rows_of(stack) == 400


@pytest.mark.parametrize("overflow", [False, True])
def test_parts_are_bounded_where_messages_are_not(stack, monkeypatch, overflow):
    """On platforms without a limit, and with an overflow store."""
    monkeypatch.setattr(remote_changes, "LARGEST_PART", 4000)
    envelope = Envelope(10**6, open_store(f"memory://spill-{uuid4().hex}/messages")) if overflow else Envelope()
    recording = Recording(stack)
    assert remote_of(stack, recording, envelope).append(VECTORS).added == 200
    assert len(recording.requests) > 1
    assert max(len(request.body) for request in recording.requests) <= 4000
