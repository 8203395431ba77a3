"""What a stack costs is what was measured, scaled."""

from __future__ import annotations

import json

import pytest

import vsearch
from tests.fanout.conftest import make_sample
from vsearch.deploy.cost import estimate_cost, measure_bill, on_a_share
from vsearch.fanout.bill import Usage, Usages, make_bill
from vsearch.storage import open_store


def test_costs_scale():
    bill = make_bill(Usages.of("processor", Usage(invocations=10, seconds=2.0, gigabyte_seconds=4.0, requests=5)))
    found = estimate_cost(bill, queries=100, queries_per_second=10)
    assert found.per_million == pytest.approx(1e4 * bill.total)
    assert found.per_month == pytest.approx(bill.total / 100 * 10 * 2_592_000)
    assert found.concurrency == pytest.approx(0.2)
    assert found.per_million == pytest.approx(sum(found.items.values()))
    with pytest.raises(vsearch.InputError):
        estimate_cost(bill, queries=0, queries_per_second=1)


def test_less_memory_than_a_processor_takes_longer_for_the_same_work():
    """Below 1,769 MB a function has a share of a processor: it pays less a second, for more seconds."""

    def measured(memory):
        return Usages.of(
            "processor", Usage(invocations=1, seconds=0.5, gigabyte_seconds=0.5 * memory / 1024, requests=3)
        )

    whole = measured(1769)
    for memory in (128, 512, 1024):
        found = on_a_share(measured(memory), memory)
        assert found.processor.gigabyte_seconds == pytest.approx(whole.processor.gigabyte_seconds)
        assert found.processor.seconds == pytest.approx(0.5 * 1769 / memory)
        assert (found.processor.invocations, found.processor.requests) == (1, 3)
    for memory in (1769, 3008):
        assert on_a_share(measured(memory), memory) == measured(memory)


def test_a_measured_bill_never_has_less_than_a_processor_takes(tmp_path):
    vectors, attributes, _ = make_sample(300, 16, 2)
    url = str(tmp_path / "index")
    vsearch.build(vectors, url, attributes, shards=2, partitions=6)
    total = measure_bill(open_store(url), memory=128, queries=1, mode="flat")[0].usages.total
    assert total.gigabyte_seconds >= total.invocations * 0.001 * 1769 / 1024


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
    shown = CliRunner().invoke(app, [*asked, "--arch", "arm64"])
    assert "per_million" in shown.output or "per million" in shown.output
    refused = CliRunner().invoke(app, [*asked, "--arch", "mips"])
    assert refused.exit_code != 0


def test_functions_cannot_read_a_folder(tmp_path):
    from typer.testing import CliRunner

    from vsearch.cli.app import app

    refused = CliRunner().invoke(app, ["deploy", str(tmp_path), "--stack", "words", "--dry-run"])
    assert refused.exit_code != 0
    assert "no s3:// URL" in str(refused.exception) + refused.output
