from __future__ import annotations

import json

import boto3
import pytest
from typer.testing import CliRunner

from vsearch.cli.app import app
from vsearch.faas import daemon
from vsearch.faas.functions import FunctionSpec


@pytest.fixture
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("VSEARCH_FAAS_STATE", str(tmp_path / "faas" / "state.json"))
    yield
    daemon.down()


def run(*arguments):
    result = CliRunner().invoke(app, ["faas", *arguments])
    assert result.exit_code == 0, result.output
    return result.output.strip()


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_up_status_down(package):
    assert run("down") == "not running"
    url = run("up")
    assert run("up") == url
    daemon.put(FunctionSpec(name="echo", handler="handlers.echo", package=str(package)))
    client = boto3.client(
        "lambda", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    reply = json.loads(client.invoke(FunctionName="echo", Payload=b"1")["Payload"].read())
    assert reply["event"] == 1
    (found,) = json.loads(run("status", "--json"))
    assert (found["name"], found["invocations"], found["idle"]) == ("echo", 1, 1)
    daemon.remove("echo")
    assert json.loads(run("status", "--json")) == []
    with pytest.raises(daemon.FaasError, match="refused"):
        daemon.put(FunctionSpec(name="echo", handler="handlers.echo", package="/nowhere"))
    assert run("down") == "stopped"
    with pytest.raises(daemon.FaasError, match="vsearch faas up"):
        daemon.find()
