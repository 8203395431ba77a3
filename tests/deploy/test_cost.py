"""The forecast cost of a stack is the measured cost, scaled."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import make_sample
from tests.indexes import files_of
from vsearch.api.remote_index import RemoteIndex
from vsearch.deploy.change_cost import measure_changes
from vsearch.deploy.cost import estimate_cost, measure_bill
from vsearch.deploy.rehearsal import RUNS, Conditions, Rehearsal, platform_seconds
from vsearch.fanout.calls.bill import Usage, Usages, make_bill
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.aws_lambda import PRICES
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Warmed
from vsearch.storage import open_store


def test_costs_scale():
    used = Usages.of("processor", Usage(invocations=10, seconds=2.0, gigabyte_seconds=4.0, requests=5))
    bill = make_bill(used, PRICES["x86_64"])
    found = estimate_cost(bill, queries=100, queries_per_second=10)
    assert found.per_million == pytest.approx(1e4 * bill.total)
    assert found.per_month == pytest.approx(bill.total / 100 * 10 * 2_592_000)
    assert found.concurrency == pytest.approx(0.2)
    assert found.per_million == pytest.approx(sum(found.items.values()))
    with pytest.raises(vsearch.InputError, match=r"queries must be at least 1 .*, got 0 and 1$"):
        estimate_cost(bill, queries=0, queries_per_second=1)


def test_less_memory_than_a_processor_takes_longer_for_the_same_work():
    """Below 1,769 MB a function has a share of a processor: it pays less a second, for more seconds; waiting stays as it is."""
    assert platform_seconds(0.5, 0.5, 0.25) == pytest.approx(2.0)
    assert platform_seconds(0.5, 0.1, 0.25) == pytest.approx(0.8)
    assert platform_seconds(0.5, 0.5, 1.0) == platform_seconds(0.5, 0.5, 3.0) == 0.5
    assert platform_seconds(0.5, 1.5, 1.0) == pytest.approx(1.5)  # threads on three cores here, on one there
    assert platform_seconds(0.5, 1.5, 2.0) == pytest.approx(0.75)


class Echo:
    """A worker's replies without an index: the coordinator calls two processors at once, each of which works."""

    def __init__(self, role, caller):
        self.role, self.caller, self.calls = role, caller, 0

    def __call__(self, payload):
        self.calls += 1
        begun = time.perf_counter()
        usages = Usages()
        if self.role == "coordinator":
            with ThreadPoolExecutor(2) as pool:
                replies = list(pool.map(lambda n: self.caller.invoke(f"t-processor-{n}", payload, None), range(2)))
            usages = Usages.sum(wire.decode(reply).usages for reply in replies)
        else:
            while time.perf_counter() - begun < 0.02:
                pass
        usage = Usage(invocations=1, seconds=time.perf_counter() - begun)
        return wire.encode(Warmed(snapshot=1, bytes=0, usages=usages + Usages.of(self.role, usage)))


def test_functions_are_measured_apart_and_callers_wait_for_callees(monkeypatch):
    names, made = Names("t"), {}
    monkeypatch.setattr("vsearch.fanout.roles.worker.serve", lambda worker, payload, _: worker(payload))

    def open_worker(function, caller):
        return made.setdefault(function, Echo(names.role(function), caller))

    rehearsal = Rehearsal(open_worker, names, Conditions(1769, 0.05, 0.0, 1.0))
    usages = wire.decode(rehearsal.invoke("t-coordinator", b"any", None)).usages
    assert usages.processor.invocations == 2
    assert usages.coordinator.seconds >= 0.07  # the processors side by side, and one hop
    assert usages.coordinator.seconds >= usages.processor.seconds / 2 + 0.05
    assert made["t-processor-0"].calls == made["t-coordinator"].calls == 1 + RUNS  # not again under the coordinator


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["alone", "flat", "tree"])
def test_a_forecast_has_the_invocations_of_the_answers(tmp_path, monkeypatch, mode):
    monkeypatch.setattr("vsearch.deploy.cost.REQUESTS", 2)
    vectors, attributes, queries = make_sample(300, 16, 2)
    url = str(tmp_path / "index")
    vsearch.build(vectors, url, attributes, shards=2, partitions=6)
    names = Names("t")
    asked = {"k": 10, "where": "year > 2000", "mode": mode}
    bill, many = measure_bill(open_store(url), queries=70, vectors=queries, hop=0.001, **asked)
    assert many == 2 * 70
    local = LocalInvoker(
        lambda function: Worker.open(names.role(function), open_store(url), function, invoker=local, names=names)
    )
    index = RemoteIndex(url, names, local, Envelope())
    answers = [index.search(queries[(n * 70 + np.arange(70)) % 24], **asked) for n in (1, 2)]
    expected = Usages.sum(hits.bill.usages for hits in answers)
    for role in ("coordinator", "allocator", "processor"):
        assert getattr(bill.usages, role).invocations == getattr(expected, role).invocations
    assert bill.usages.total.requests == 0
    assert bill.usages.total.gigabyte_seconds >= bill.usages.total.invocations * 0.001 * 1769 / 1024 * 0.999


def test_queries_that_do_not_fit(tmp_path):
    vectors, attributes, _ = make_sample(300, 16, 2)
    vsearch.build(vectors, tmp_path / "index", attributes, partitions=6)
    for wrong in (np.zeros((3, 5)), np.zeros((0, 16)), np.zeros(16), np.full((2, 16), np.nan)):
        with pytest.raises(vsearch.InputError):
            measure_bill(open_store(str(tmp_path / "index")), vectors=wrong)


@pytest.mark.slow
def test_the_command_line_predicts(tmp_path):
    from typer.testing import CliRunner

    from vsearch.cli.app import app

    vectors, attributes, _ = make_sample(300, 16, 2)
    url = str(tmp_path / "index")
    vsearch.build(vectors, url, attributes, shards=2, partitions=6)
    asked = ["cost", url, "--qps", "5", "--batch", "50", "--where", "year > 2000"]
    found = CliRunner().invoke(app, [*asked, "--json"])
    assert found.exit_code == 0, found.output
    estimate = json.loads(found.output)
    assert estimate["per_month"] == pytest.approx(estimate["per_million"] * 5 * 2.592)
    np.save(tmp_path / "queries.npy", vectors[:30])
    shown = CliRunner().invoke(
        app, [*asked, "--arch", "arm64", "--queries", str(tmp_path / "queries.npy"), "--hop", "2"]
    )
    assert "per_million" in shown.output or "per million" in shown.output
    refused = CliRunner().invoke(app, [*asked, "--arch", "mips"])
    assert refused.exit_code != 0


def test_functions_cannot_read_a_folder(tmp_path):
    from typer.testing import CliRunner

    from vsearch.cli.app import app

    refused = CliRunner().invoke(app, ["deploy", str(tmp_path), "--stack", "words", "--dry-run"])
    assert refused.exit_code != 0
    assert "is not an s3:// URL" in str(refused.exception) + refused.output


@pytest.mark.parametrize("ids", [None, "int64", "string"])
def test_changes_are_forecast_and_not_made(tmp_path, ids):
    vectors, attributes, _ = make_sample(300, 16, 2)
    names = {None: None, "int64": np.arange(300), "string": [f"row {i}" for i in range(300)]}[ids]
    folder = tmp_path / "index"
    vsearch.build(vectors, folder, attributes, names, shards=2, partitions=6)
    before = files_of(folder)
    store = open_store(str(folder))
    once = measure_changes(store, writes_per_hour=60, rows_per_write=4, optimize_every=15)
    assert files_of(folder) == before
    # two objects are written and one listing is made for each, whatever the machine
    requests = 1e6 * 3 * PRICES["x86_64"].write
    assert once.per_million_writes > requests
    assert once.writes_per_month == pytest.approx(once.per_million_writes / 1e6 * 60 * 24 * 30)
    assert once.keeper_per_month > 0
    assert measure_changes(store, writes_per_hour=1).keeper_per_month == 0
    with pytest.raises(vsearch.InputError, match=r"writes_per_hour must be above 0, .*, got 0, \d+ and None$"):
        measure_changes(store, writes_per_hour=0)
