"""Stacks are created, updated, rolled back and deleted on moto, completely and without affecting others."""

from __future__ import annotations

import hashlib
import json
import zipfile
from ast import literal_eval
from dataclasses import replace
from types import SimpleNamespace

import boto3
import pytest
import yaml
from botocore.stub import Stubber

import vsearch
from tests.deploy.aws import account
from vsearch.deploy.aws import stacks, versions
from vsearch.deploy.aws.changing import ChangingSpec
from vsearch.deploy.aws.keys import encryption_key
from vsearch.deploy.aws.rendering import transform
from vsearch.deploy.aws.template import StackSpec
from vsearch.deploy.packages import Package
from vsearch.deploy.rendering import render
from vsearch.storage import open_store

NAMES = ["words-processor-0", "words-processor-1", "words-processor-2", "words-allocator", "words-coordinator"]


@pytest.fixture
def session():
    with account():
        made = boto3.Session(region_name="us-east-1")
        made.client("s3").create_bucket(Bucket="code")
        yield made


@pytest.fixture
def package(tmp_path):
    def make(content="", name="abc"):
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("functions/processor.py", content)
        return Package(path, "x86_64", "3.13", 1, 1, name)

    return make


@pytest.fixture
def spec(session, package):
    built = package()
    url = stacks.package_url(built, "code", "words")
    assert stacks.upload(built, url, session)
    assert not stacks.upload(built, url, session)
    return StackSpec("words", "s3://data/indexes/words", 3, url)


def deploy(spec, session, **more):
    return stacks.deploy(spec, session, transform=transform, **more)


def functions(session):
    pages = session.client("lambda").get_paginator("list_functions").paginate()
    return {each["FunctionName"]: each for page in pages for each in page["Functions"]}


def live(session, names=NAMES):
    client = session.client("lambda")
    return [int(client.get_alias(FunctionName=name, Name="live")["FunctionVersion"]) for name in names]


def files(session):
    found = session.client("s3").list_objects_v2(Bucket="code").get("Contents", [])
    return {each["Key"] for each in found}


def test_create_update_and_delete(session, spec):
    session.client("s3").put_object(Bucket="code", Key="vsearch/stacks/words-2/other.zip", Body=b"")
    first = deploy(spec, session)
    assert (first.status, first.changed, first.functions) == ("CREATE_COMPLETE", True, tuple(NAMES))
    found = functions(session)
    assert set(found) == set(NAMES)
    assert found["words-processor-1"]["Environment"]["Variables"]["VSEARCH_INDEX"] == spec.index
    assert found["words-processor-1"]["Handler"] == "functions.processor.handler"
    assert live(session) == [1] * 5
    assert [g["logGroupName"] for g in session.client("logs").describe_log_groups()["logGroups"]] == ["/vsearch/words"]

    second = deploy(replace(spec, memory=3008), session)
    assert (second.status, second.changed) == ("UPDATE_COMPLETE", True)
    assert {each["MemorySize"] for each in functions(session).values()} == {3008}

    assert stacks.undeploy("words", session)
    assert functions(session) == {}
    assert stacks.find("words", session) is None
    assert files(session) == {"vsearch/stacks/words-2/other.zip"}
    assert session.client("logs").describe_log_groups()["logGroups"] == []
    assert session.client("iam").list_roles()["Roles"] == []
    assert not stacks.undeploy("words", session)


def test_the_same_again_changes_nothing(session, spec, monkeypatch):
    first = deploy(spec, session)
    monkeypatch.setattr(stacks, "_send", None)
    again = deploy(spec, session)
    assert (again.changed, again.release, again.status) == (False, first.release, "CREATE_COMPLETE")
    assert live(session) == [1] * 5


def test_another_package_is_another_version_and_the_former_can_answer_again(session, spec, package):
    first = deploy(spec, session)
    built = package("other", "def")
    other = replace(spec, code=stacks.package_url(built, "code", "words"))
    stacks.upload(built, other.code, session)
    second = deploy(other, session)
    assert second.release != first.release
    newer = live(session)
    assert all(version > 1 for version in newer)
    there = versions.releases("words", session)
    assert [(each.release, each.live, each.shards) for each in there] == [
        (second.release, True, 3),
        (first.release, False, 3),
    ]

    assert versions.roll_back("words", session, versions.OptionalFunctions()).release == first.release
    assert live(session) == [1] * 5
    with pytest.raises(vsearch.InputError, match="no release to roll back to"):
        versions.roll_back("words", session, versions.OptionalFunctions())
    assert versions.roll_back("words", session, versions.OptionalFunctions(), second.release[:5]).live is False
    assert live(session) == newer

    versions.roll_back("words", session, versions.OptionalFunctions())
    again = deploy(other, session)  # the stack has it, but another release answers
    assert (again.changed, live(session)) == (True, newer)


def test_old_versions_go_but_never_the_one_that_answers(session, spec):
    made = [deploy(replace(spec, memory=memory), session, keep=2).release for memory in (512, 1024, 2048)]
    assert [each.release for each in versions.releases("words", session)] == [made[2], made[1]]
    versions.roll_back("words", session, versions.OptionalFunctions())
    assert versions.prune(NAMES, 1, session) == 0
    assert [each.live for each in versions.releases("words", session)] == [False, True]


def test_a_release_of_functions_that_are_gone_cannot_answer(session, spec):
    deploy(spec, session)
    deploy(replace(spec, shards=2), session)
    assert set(functions(session)) == set(NAMES) - {"words-processor-2"}
    with pytest.raises(vsearch.InputError, match="words-processor-2 has no version"):
        versions.roll_back("words", session, versions.OptionalFunctions())
    assert len(set(live(session, ["words-processor-0", "words-coordinator"]))) == 1


def test_nested_stacks(session, spec):
    large = replace(spec, shards=161, api_key_sha256="0" * 64)
    done = deploy(large, session)
    assert (done.status, len(done.functions)) == ("CREATE_COMPLETE", 164)
    assert set(functions(session)) == set(done.functions)
    assert sum("processors-" in name for name in files(session)) == 2
    role = functions(session)["words-processor-160"]["Role"]
    assert role == functions(session)["words-processor-0"]["Role"]
    assert role.startswith("arn:aws:iam::")
    assert not deploy(large, session).changed
    changed = deploy(replace(large, memory=512), session)
    assert changed.changed
    assert {each["MemorySize"] for each in functions(session).values()} == {512}
    assert stacks.undeploy("words", session)
    assert functions(session) == {}
    assert files(session) == set()


def test_a_url_goes_only_where_that_is_asked_for(session, spec):
    keyed = replace(spec, api_key_sha256="0" * 64, http_concurrency=5)
    assert deploy(keyed, session).url
    with pytest.raises(vsearch.InputError, match="its key again"):
        deploy(spec, session)
    assert "words-http" in functions(session)
    done = deploy(spec, session, drop={"url"})
    assert done.url is None
    assert "words-http" not in functions(session)
    assert deploy(spec, session).url is None


def test_a_writer_and_a_keeper_come_and_go_only_when_asked(session, spec):
    changing = ChangingSpec(spec.code, writer=True, write_key_sha256="1" * 64, keep_minutes=15)
    first = deploy(spec, session)
    full = replace(spec, api_key_sha256="0" * 64, changing=changing)
    done = deploy(full, session)
    assert set(done.functions) == {*NAMES, "words-writer", "words-keeper", "words-http"}
    assert set(live(session, done.functions)) - set(live(session)) == {1}
    rules = session.client("events").list_rules()["Rules"]
    assert [rule["ScheduleExpression"] for rule in rules] == ["rate(15 minutes)"]
    roles = {role["RoleName"] for role in session.client("iam").list_roles()["Roles"]}
    assert len(roles) == 5
    with pytest.raises(vsearch.InputError, match="has a writer, which would be removed; pass --writer again"):
        deploy(replace(full, changing=None), session)
    kept = replace(full, changing=replace(changing, keep_minutes=None))
    with pytest.raises(vsearch.InputError, match="has a keeper, which would be removed; pass --optimize-every again"):
        deploy(kept, session)
    assert "words-keeper" not in deploy(kept, session, drop={"keeper"}).functions
    assert set(functions(session)) == {*NAMES, "words-writer", "words-http"}
    with pytest.raises(vsearch.InputError, match="words-writer has no version"):
        versions.roll_back("words", session, versions.OptionalFunctions(web=True, writer=True), first.release)
    assert deploy(spec, session, drop={"url", "writer"}).functions == first.functions


def test_a_stack_whose_creation_failed_is_made_anew(session, spec, monkeypatch):
    deploy(spec, session)
    real, asked = stacks.find, []

    def find(stack, session):
        found = real(stack, session)
        asked.append(found)
        return {**found, "StackStatus": "ROLLBACK_COMPLETE"} if len(asked) == 1 else found

    monkeypatch.setattr(stacks, "find", find)
    assert deploy(spec, session).status == "CREATE_COMPLETE"
    assert len(asked) == 2


def test_a_stack_that_is_being_changed_is_left_alone(session, spec, monkeypatch):
    found = {"StackName": "words", "StackStatus": "UPDATE_IN_PROGRESS", "Description": "vsearch: "}
    monkeypatch.setattr(stacks, "find", lambda *_: found)
    with pytest.raises(vsearch.StoreError, match="UPDATE_IN_PROGRESS; wait"):
        deploy(spec, session)


def test_what_cannot_be_invoked_is_named():
    client = boto3.client("lambda")
    asked = {"InvocationType": "DryRun", "Qualifier": "live"}
    with Stubber(client) as stub:
        stub.add_response("invoke", {"StatusCode": 204}, {"FunctionName": "words-allocator", **asked})
        stub.add_client_error(
            "invoke", "AccessDeniedException", expected_params={"FunctionName": "words-coordinator", **asked}
        )
        with pytest.raises(vsearch.StoreError, match=r"words-coordinator cannot be invoked.*AccessDenied"):
            stacks.check_invocable(["words-allocator", "words-coordinator"], SimpleNamespace(client=lambda _: client))


def test_stacks_of_others_stay(session, spec):
    body = json.dumps({"Resources": {"B": {"Type": "AWS::S3::Bucket"}}})
    session.client("cloudformation").create_stack(StackName="words", TemplateBody=body)
    for change in (lambda: stacks.undeploy("words", session), lambda: deploy(spec, session)):
        with pytest.raises(vsearch.InputError, match="not deployed by vsearch"):
            change()
    assert stacks.find("words", session)["StackStatus"] == "CREATE_COMPLETE"


def encrypted(session, **default):
    session.client("s3").create_bucket(Bucket="data")
    rules = [{"ApplyServerSideEncryptionByDefault": default}]
    session.client("s3").put_bucket_encryption(Bucket="data", ServerSideEncryptionConfiguration={"Rules": rules})


def test_the_key_of_an_encrypted_bucket_is_found_and_granted(session, spec):
    key = session.client("kms").create_key()["KeyMetadata"]
    encrypted(session, SSEAlgorithm="aws:kms", KMSMasterKeyID=key["KeyId"])
    found = encryption_key("data", session)
    assert found == key["Arn"]
    deploy(replace(spec, kms_key=found), session)
    client, granted = session.client("iam"), {}
    for role in client.list_roles()["Roles"]:
        document = client.get_role_policy(RoleName=role["RoleName"], PolicyName="vsearch")["PolicyDocument"]
        for statement in literal_eval(document)["Statement"]:  # moto keeps the text of what it was given
            if "kms:Decrypt" in statement["Action"]:
                granted[role["RoleName"].split("-")[1]] = statement["Resource"]
    assert granted == {name: [key["Arn"]] for name in ("CoordinatorRole", "AllocatorRole", "ProcessorRole")}


def test_keys_of_s3_itself_need_no_right(session):
    session.client("s3").create_bucket(Bucket="plain")
    assert encryption_key("plain", session) is None
    encrypted(session, SSEAlgorithm="AES256")
    assert encryption_key("data", session) is None
    with pytest.raises(vsearch.StoreError, match="pass --kms-key"):
        encryption_key("absent", session)


def test_the_command_line(session, spec, package, monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from tests.fanout.conftest import make_sample
    from vsearch.cli.app import app

    vectors, attributes, _ = make_sample(300, 16, 2)
    vsearch.build(vectors, str(tmp_path / "index"), attributes, shards=2, partitions=6)
    opened = open_store(str(tmp_path / "index"))
    monkeypatch.setattr("vsearch.storage.open_store", lambda *_, **__: opened)
    monkeypatch.setattr("vsearch.deploy.packages.build_package", lambda *_, **__: package())
    monkeypatch.setattr(stacks, "render", lambda template: render(transform(template)))
    encrypted(session, SSEAlgorithm="AES256")

    def run(*words):
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    asked = ["deploy", "s3://data/indexes/words", "--stack", "words", "--api-key", "secret"]
    shown = CliRunner().invoke(app, [*asked, "--dry-run"])
    assert "Processor1" in yaml.safe_load(shown.stdout)["Resources"]
    assert functions(session) == {}
    assert "CREATE_COMPLETE; release" in run(*asked)
    assert "unchanged" in run(*asked)
    variables = functions(session)["words-http"]["Environment"]["Variables"]
    assert variables["VSEARCH_API_KEY_SHA256"] == hashlib.sha256(b"secret").hexdigest()
    assert "UPDATE_COMPLETE; release" in run(*asked, "--memory", "512", "--env", "VSEARCH_METRICS=1")
    assert functions(session)["words-processor-1"]["Environment"]["Variables"]["VSEARCH_METRICS"] == "1"
    assert [each["live"] for each in json.loads(run("rollback", "words", "--list", "--json"))] == [True, False]
    assert "yes" in run("rollback", "words", "--list")
    assert "is live, with 2 shards" in run("rollback", "words")
    assert live(session, ["words-http"]) == [1]
    changing = ["--write-key", "write secret", "--optimize-every", "15", "--keeper-memory", "4096"]
    assert "rows" in run(*asked, *changing)
    variables = functions(session)["words-http"]["Environment"]["Variables"]
    assert variables["VSEARCH_WRITE_KEY_SHA256"] == hashlib.sha256(b"write secret").hexdigest()
    assert functions(session)["words-keeper"]["MemorySize"] == 4096
    for combined in (["--no-writer", *changing], ["--no-keeper", *changing], ["--write-key", "x", "--no-url"]):
        assert CliRunner().invoke(app, [*asked[:-2], *combined]).exit_code == 2
    run(*asked, "--no-writer", "--no-keeper")
    assert "words-writer" not in functions(session)
    monkeypatch.delenv("VSEARCH_API_KEY", raising=False)
    refused = CliRunner().invoke(app, asked[:-2])
    assert refused.exit_code == 2
    assert "its key again" in refused.output
    assert "words-http" in functions(session)
    run(*asked[:-2], "--no-url")
    assert "words-http" not in functions(session)
    refused = CliRunner().invoke(app, [*asked, "--no-url"])
    assert refused.exit_code == 2
    assert "deleted" in run("undeploy", "words")
    assert "no such stack" in run("undeploy", "words")
    assert json.loads(run("undeploy", "words", "--json")) == {"stack": "words", "deleted": False}
    assert functions(session) == {}
