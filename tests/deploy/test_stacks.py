"""The template says what it should, AWS's own tools accept it, and moto creates, updates and deletes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

import vsearch
import vsearch.storage
from vsearch.deploy.cost import estimate_cost
from vsearch.deploy.packages import Package
from vsearch.deploy.stacks import deploy, find, undeploy, upload
from vsearch.deploy.template import StackSpec, make_template, render, transform
from vsearch.fanout.bill import Usage, Usages, make_bill

SPEC = StackSpec("words", "s3://data/indexes/words", 3, "s3://code/vsearch/packages/abc.zip")
FULL = StackSpec(
    "words",
    "s3://data/indexes/words",
    3,
    "s3://code/vsearch/packages/abc.zip",
    arch="arm64",
    kms_key="arn:aws:kms:us-east-1:123456789012:key/1",
    overflow="s3://spill/words",
    api_key_sha256="0" * 64,
    snap_start=True,
)
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
PARTITION, HERE = "arn:${AWS::Partition}", "${AWS::Region}:${AWS::AccountId}"


@pytest.fixture(autouse=True)
def _region(monkeypatch):
    for name, value in (
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ):
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_LAMBDA", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def allowed(template, role):
    """Every (action, resource) that a role may, logs left out."""
    pairs = set()
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            for resource in statement["Resource"]:
                text = resource["Fn::Sub"] if isinstance(resource, dict) else resource
                pairs |= {(action, text) for action in actions if action not in LOGS}
                assert not any(a in LOGS for a in actions) or f"{HERE}:log-group:/aws/lambda/words-" in text
    return pairs


def function(name):
    return ("lambda:InvokeFunction", f"{PARTITION}:lambda:{HERE}:function:{name}")


READ = ("s3:GetObject", f"{PARTITION}:s3:::data/indexes/words/*")
CALLS = {function("words-allocator"), *(function(f"words-processor-{shard}") for shard in range(3))}


@pytest.mark.parametrize(
    "made", [make_template, lambda spec: transform(make_template(spec))], ids=["SAM", "transformed"]
)
def test_roles_may_exactly_what_they_must(made):
    template = made(SPEC)
    assert allowed(template, "ProcessorRole") == {READ}
    assert allowed(template, "AllocatorRole") == {READ, *CALLS}
    listing = ("s3:ListBucket", f"{PARTITION}:s3:::data")
    assert allowed(template, "CoordinatorRole") == {READ, listing, *CALLS}
    roles = {n for n, r in template["Resources"].items() if r["Type"] == "AWS::IAM::Role"}
    assert roles == {"ProcessorRole", "AllocatorRole", "CoordinatorRole"}


def test_every_function_has_the_role_of_its_own():
    resources = transform(make_template(FULL))["Resources"]
    functions = {
        r["Properties"]["FunctionName"]: r["Properties"]
        for r in resources.values()
        if r["Type"] == "AWS::Lambda::Function"
    }
    assert set(functions) == {
        "words-coordinator",
        "words-allocator",
        "words-http",
        *(f"words-processor-{i}" for i in range(3)),
    }
    for name, properties in functions.items():
        role = {"coordinator": "CoordinatorRole", "http": "CoordinatorRole", "allocator": "AllocatorRole"}
        expected = role.get(name.split("-")[1], "ProcessorRole")
        assert properties["Role"] == {"Fn::GetAtt": [expected, "Arn"]}
        assert properties["Architectures"] == ["arm64"]


def test_keys_and_overflow_are_granted_only_where_asked_for():
    pairs = allowed(make_template(FULL), "ProcessorRole")
    assert pairs == {
        READ,
        ("s3:GetObject", f"{PARTITION}:s3:::spill/words/messages/*"),
        ("s3:PutObject", f"{PARTITION}:s3:::spill/words/messages/*"),
        ("kms:Decrypt", FULL.kms_key),
        ("kms:GenerateDataKey", FULL.kms_key),
    }


@pytest.mark.parametrize("spec", [SPEC, FULL], ids=["plain", "full"])
def test_cfn_lint_is_content(tmp_path, spec):
    path = tmp_path / "template.json"
    path.write_text(render(make_template(spec)))
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"stack": "a b"},
        {"index": "/folder"},
        {"arch": "mips"},
        {"memory": 1},
        {"shards": 0},
        {"shards": 600},
        {"timeout": 901},
    ],
)
def test_what_cannot_be_deployed(change):
    with pytest.raises(vsearch.InputError):
        make_template(StackSpec(**{**vars(SPEC), **change}))


@mock_aws
def test_create_update_delete(tmp_path):
    session = boto3.Session(region_name="us-east-1")
    session.client("s3").create_bucket(Bucket="code")
    package = tmp_path / "package.zip"
    import zipfile

    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("functions/processor.py", "")
    code = upload(Package(package, "x86_64", 1, 1, "abc"), "code", session)
    assert code == SPEC.code
    assert upload(Package(package, "x86_64", 1, 1, "abc"), "code", session) == code

    first = deploy(SPEC, session, transform=transform)
    assert (first.status, first.changed) == ("CREATE_COMPLETE", True)
    client = session.client("lambda")
    functions = {each["FunctionName"]: each for each in client.list_functions()["Functions"]}
    assert set(functions) == {"words-coordinator", "words-allocator", *(f"words-processor-{i}" for i in range(3))}
    assert functions["words-processor-1"]["Environment"]["Variables"]["VSEARCH_INDEX"] == SPEC.index
    assert functions["words-processor-1"]["Handler"] == "functions.processor.handler"

    more = StackSpec(**{**vars(SPEC), "memory": 3008})
    assert deploy(more, session, transform=transform).status == "UPDATE_COMPLETE"
    assert {each["MemorySize"] for each in client.list_functions()["Functions"]} == {3008}

    assert undeploy("words", session)
    assert client.list_functions()["Functions"] == []
    assert find("words", session) is None
    assert not undeploy("words", session)


@mock_aws
def test_stacks_of_others_stay():
    session = boto3.Session(region_name="us-east-1")
    body = json.dumps({"Resources": {"B": {"Type": "AWS::S3::Bucket"}}})
    session.client("cloudformation").create_stack(StackName="other", TemplateBody=body)
    with pytest.raises(vsearch.InputError, match="not deployed by vsearch"):
        undeploy("other", session)


def test_costs_scale():
    bill = make_bill(Usages.of("processor", Usage(invocations=10, seconds=2.0, gigabyte_seconds=4.0, requests=5)))
    found = estimate_cost(bill, queries=100, queries_per_second=10)
    assert found.per_million == pytest.approx(1e4 * bill.total)
    assert found.per_month == pytest.approx(bill.total / 100 * 10 * 2_592_000)
    assert found.concurrency == pytest.approx(0.2)
    assert found.per_million == pytest.approx(sum(found.items.values()))
    with pytest.raises(vsearch.InputError):
        estimate_cost(bill, queries=0, queries_per_second=1)


def test_the_command_line_shows_what_it_would_do(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from tests.fanout.conftest import make_sample
    from vsearch.cli.app import app

    vectors, attributes, _ = make_sample(300, 16, 2)
    url = str(tmp_path / "index")
    vsearch.build(vectors, url, attributes, shards=2, partitions=6)
    found = CliRunner().invoke(app, ["cost", url, "--qps", "5", "--batch", "50", "--where", "year > 2000", "--json"])
    assert found.exit_code == 0, found.output
    estimate = json.loads(found.output)
    assert estimate["per_month"] == pytest.approx(estimate["per_million"] * 5 * 2.592)
    built = Package(tmp_path / "p.zip", "x86_64", 1000, 2000, "abc")
    monkeypatch.setattr("vsearch.deploy.packages.build_package", lambda *_: built)
    refused = CliRunner().invoke(app, ["deploy", url, "--stack", "words", "--dry-run"])
    assert refused.exit_code != 0  # functions cannot read a folder
    monkeypatch.setattr("vsearch.storage.open_store", lambda *_, real=vsearch.storage.open_store, **__: real(url))
    shown = CliRunner().invoke(app, ["deploy", "s3://data/index", "--stack", "words", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "Processor1" in json.loads(shown.stdout)["Resources"]
