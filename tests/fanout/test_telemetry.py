"""Telemetry of workers: log lines, metrics and spans, each only if enabled."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest

from vsearch.fanout.calls import telemetry
from vsearch.fanout.calls.bill import Usage
from vsearch.fanout.calls.retries import CallError
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.replies import open_reply


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


def test_nothing_is_said_unless_asked_for(stack, capsys, monkeypatch):
    monkeypatch.delenv("VSEARCH_METRICS", raising=False)
    stack.search(mode="flat")
    assert lines(capsys) == []


def test_metrics_are_in_the_embedded_format(stack, capsys, monkeypatch):
    monkeypatch.setenv("VSEARCH_METRICS", "1")
    answer = stack.search(mode="flat")
    found = lines(capsys)
    assert {line["function"] for line in found} == {"t-coordinator", *(f"t-processor-{i}" for i in answer.shards)}
    for line in found:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "vsearch"
        assert {name for names in directive["Dimensions"] for name in names} <= set(line)
        for metric in directive["Metrics"]:
            assert isinstance(line[metric["Name"]], int | float)
    coordinator = next(line for line in found if line["role"] == "coordinator")
    assert coordinator["kind"] == "SearchRequest"
    assert coordinator["ColdStarts"] == 1
    assert coordinator["Duration"] == pytest.approx(1e3 * answer.usages.coordinator.seconds)
    assert coordinator["ObjectRequests"] == answer.usages.coordinator.requests


def test_failures_are_counted_by_kind(stack, capsys, monkeypatch):
    monkeypatch.setenv("VSEARCH_METRICS", "1")
    with pytest.raises(CallError):
        stack.search(columns=("none",))
    (line,) = lines(capsys)
    assert (line["Failures"], line["error"]) == (1, "refused")


def test_the_log_can_be_silenced(capsys, monkeypatch):
    telemetry.log("f", "processor", "failed", trace="t")
    assert lines(capsys) == [{"event": "failed", "function": "f", "role": "processor", "trace": "t"}]
    monkeypatch.setenv("VSEARCH_LOG", "0")
    telemetry.log("f", "processor", "failed")
    assert lines(capsys) == []


@pytest.fixture(scope="module")
def exporter():
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter, monkeypatch):
    monkeypatch.setenv("VSEARCH_TRACE", "1")
    exporter.clear()
    return exporter


def test_spans_form_one_trace_down_the_tree(stack, spans):
    with telemetry.span("test"):
        parent = telemetry.traceparent()
    spans.clear()
    request = stack.request(allocators=5, branching=2)
    payload = wire.encode(msgspec.structs.replace(request, trace=parent))
    answer = open_reply(Envelope(), stack.local.invoke("t-coordinator", payload, 60), "t-coordinator")
    found = spans.get_finished_spans()
    names = [span.name for span in found]
    assert names.count("vsearch.coordinator") == 1
    assert names.count("vsearch.allocator") == 5
    assert names.count("vsearch.processor") == answer.usages.processor.invocations
    assert names.count("vsearch.call") == 5 + answer.usages.processor.invocations
    assert {"vsearch.plan", "vsearch.load", "vsearch.mask"} <= set(names)
    assert {f"{span.context.trace_id:032x}" for span in found} == {parent.split("-")[1]}
    by_id = {span.context.span_id: span for span in found}
    for span in found:
        if span.name == "vsearch.processor":
            called = by_id[span.parent.span_id]
            assert called.name == "vsearch.call"
            assert called.attributes["vsearch.function"] == span.attributes["vsearch.function"]


def test_failed_invocations_name_their_kind(stack, spans):
    with pytest.raises(CallError):
        stack.search(columns=("none",))
    (span,) = [span for span in spans.get_finished_spans() if span.name == "vsearch.coordinator"]
    assert span.attributes["error.type"] == "refused"


def test_a_parent_that_is_none_starts_a_new_trace(spans):
    with telemetry.span("a", "not a parent"):
        assert telemetry.traceparent()
    (span,) = spans.get_finished_spans()
    assert span.parent is None


def test_without_the_package_spans_are_nothing(monkeypatch):
    monkeypatch.setenv("VSEARCH_TRACE", "1")
    monkeypatch.setattr(telemetry, "_installed", lambda: False)
    with telemetry.span("a", function="f") as recorded:
        assert recorded is None
    assert telemetry.traceparent() == ""


@pytest.mark.slow
def test_opentelemetry_is_not_loaded_unless_asked_for():
    program = "import sys, vsearch.fanout.roles.worker as w; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_measuring_costs_nothing_when_off(capsys, monkeypatch):
    monkeypatch.delenv("VSEARCH_METRICS", raising=False)
    telemetry.measure("f", "processor", "ProcessRequest", Usage(1))
    assert capsys.readouterr().err == ""
