"""The template says what it should, its roles may do exactly what they must, and AWS's own tools accept it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import vsearch
from tests.deploy.policies import allowed, may, resolve, statements
from vsearch.deploy.aws.changing import ChangingSpec
from vsearch.deploy.aws.rendering import transform
from vsearch.deploy.aws.roles import MOST_NAMED
from vsearch.deploy.aws.template import LARGEST_RESOURCES, MOST_PROCESSORS, StackSpec, make_templates
from vsearch.deploy.rendering import render

KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
SPILL_KEY = "arn:aws:kms:us-east-1:123456789012:key/2"
SPEC = StackSpec("words", "s3://data/indexes/words", 3, "s3://code/vsearch/stacks/words/abc.zip")
FULL = replace(
    SPEC,
    arch="arm64",
    kms_key=KEY,
    overflow="s3://spill/words",
    overflow_kms_key=SPILL_KEY,
    api_key_sha256="0" * 64,
    http_concurrency=20,
    snap_start=True,
    variables={"VSEARCH_METRICS": "1"},
)
LARGE = replace(FULL, shards=700)
CHANGING = replace(
    SPEC,
    api_key_sha256="0" * 64,
    changing=ChangingSpec(
        "s3://code/vsearch/stacks/words/changes.zip", writer=True, write_key_sha256="1" * 64, keep_minutes=15
    ),
)
SPECS = pytest.mark.parametrize("spec", [SPEC, FULL, LARGE], ids=["plain", "full", "nested"])
WAYS = pytest.mark.parametrize("way", [dict, transform], ids=["SAM", "transformed"])
LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:"
READ = ("s3:GetObject", "arn:aws:s3:::data/indexes/words/*")
LIST = ("s3:ListBucket", "arn:aws:s3:::data")
LOGS = {
    (action, "arn:aws:logs:us-east-1:123456789012:log-group:/vsearch/words:*")
    for action in ("logs:CreateLogStream", "logs:PutLogEvents")
}
CALLS = {
    ("lambda:InvokeFunction", f"{LAMBDA}words-{name}:live")
    for name in ("allocator", "processor-0", "processor-1", "processor-2")
}
ROLES = {"coordinator": "CoordinatorRole", "http": "CoordinatorRole", "allocator": "AllocatorRole"}


@WAYS
def test_roles_may_exactly_what_they_must(way):
    template = way(make_templates(SPEC).root)
    assert allowed(template, "ProcessorRole") == {READ, *LOGS}
    assert allowed(template, "AllocatorRole") == {READ, *CALLS, *LOGS}
    assert allowed(template, "CoordinatorRole") == {READ, LIST, *CALLS, *LOGS}
    roles = {n for n, r in template["Resources"].items() if r["Type"] == "AWS::IAM::Role"}
    assert roles == {"ProcessorRole", "AllocatorRole", "CoordinatorRole"}


@WAYS
def test_keys_and_overflow_are_granted_where_asked_for(way):
    template = way(make_templates(FULL).root)
    more = {
        ("kms:Decrypt", KEY),
        ("s3:GetObject", "arn:aws:s3:::spill/words/messages/*"),
        ("s3:PutObject", "arn:aws:s3:::spill/words/messages/*"),
        ("kms:Decrypt", SPILL_KEY),
        ("kms:GenerateDataKey", SPILL_KEY),
    }
    assert allowed(template, "ProcessorRole") == {READ, *LOGS, *more}
    assert allowed(template, "AllocatorRole") == {READ, *CALLS, *LOGS, *more}
    assert allowed(template, "CoordinatorRole") == {READ, LIST, *CALLS, *LOGS, *more}


@WAYS
def test_the_writer_may_put_and_the_keeper_delete(way):
    template = way(make_templates(CHANGING).root)
    write = ("s3:PutObject", "arn:aws:s3:::data/indexes/words/*")
    remove = {(f"s3:{action}", write[1]) for action in ("DeleteObject", "AbortMultipartUpload")}
    assert allowed(template, "WriterRole") == {READ, LIST, write, *LOGS}
    assert allowed(template, "KeeperRole") == {READ, LIST, write, *remove, *LOGS}
    assert allowed(template, "CoordinatorRole") == {
        READ, LIST, *CALLS, ("lambda:InvokeFunction", f"{LAMBDA}words-writer:live"), *LOGS
    }  # fmt: skip
    for role in ("ProcessorRole", "AllocatorRole"):
        assert allowed(template, role) == allowed(way(make_templates(SPEC).root), role)
    for role in ("WriterRole", "KeeperRole"):
        assert not may(template, role, "s3:PutObject", "arn:aws:s3:::data/indexes/words2/manifest/1")
        assert may(template, role, "s3:ListBucket", LIST[1], prefix="indexes/words/segments/")
        assert not may(template, role, "s3:ListBucket", LIST[1], prefix="indexes/")
    keyed = {"KmsKey": KEY}
    more = {("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY)}
    assert allowed(make_templates(CHANGING).root, "WriterRole", keyed) - allowed(template, "WriterRole") == more


def test_writer_and_keeper():
    functions = functions_of(CHANGING)
    writer, keeper = functions["words-writer"], functions["words-keeper"]
    assert (writer["ReservedConcurrentExecutions"], writer["Handler"]) == (2, "functions.writer.handler")
    assert (keeper["MemorySize"], keeper["Timeout"], keeper["Handler"]) == (3008, 900, "functions.keeper.handler")
    assert writer["Code"] == keeper["Code"] == {"S3Bucket": "code", "S3Key": "vsearch/stacks/words/changes.zip"}
    assert functions["words-coordinator"]["Code"] != writer["Code"]
    hashes = {name: "VSEARCH_WRITE_KEY_SHA256" in each["Environment"]["Variables"] for name, each in functions.items()}
    assert [name for name, has in hashes.items() if has] == ["words-http"]
    resources = transform(make_templates(CHANGING).root)["Resources"]
    rules = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Events::Rule"]
    assert [rule["ScheduleExpression"] for rule in rules] == ["rate(15 minutes)"]
    assert rules[0]["Targets"][0]["Arn"] == {"Ref": "KeeperAliaslive"}
    one = replace(CHANGING, changing=replace(CHANGING.changing, keep_minutes=1, writer=False, write_key_sha256=None))
    rates = [each for each in transform(make_templates(one).root)["Resources"].values() if "Rule" in each["Type"]]
    assert rates[0]["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    free = replace(CHANGING, changing=replace(CHANGING.changing, write_concurrency=0))
    assert "ReservedConcurrentExecutions" not in functions_of(free)["words-writer"]
    for most in (MOST_PROCESSORS, MOST_PROCESSORS + 1):
        assert len(transform(make_templates(replace(CHANGING, shards=most)).root)["Resources"]) <= LARGEST_RESOURCES


@pytest.mark.parametrize(
    "change", [{"write_concurrency": -1}, {"keep_minutes": 0}, {"keep_minutes": 20_000}, {"keeper_memory": 100},
               {"writer": False}]
)  # fmt: skip
def test_what_no_writer_and_keeper_can_be(change):
    with pytest.raises(vsearch.InputError):
        replace(CHANGING.changing, **change)


def test_a_write_key_needs_a_url():
    with pytest.raises(vsearch.InputError, match="requires an API key"):
        make_templates(replace(CHANGING, api_key_sha256=None))


@pytest.mark.parametrize("role", ["ProcessorRole", "AllocatorRole", "CoordinatorRole"])
def test_keys_are_parameters(role):
    plain, keyed = make_templates(SPEC).root, {"KmsKey": KEY}
    assert allowed(plain, role, keyed) - allowed(plain, role) == {("kms:Decrypt", KEY)}
    template = make_templates(FULL).root
    assert allowed(template, role, {"KmsKey": "", "OverflowKmsKey": ""}) == allowed(
        make_templates(replace(FULL, kms_key=None, overflow_kms_key=None)).root, role
    )
    assert may(template, role, "kms:Decrypt", KEY, ViaService="s3.us-east-1.amazonaws.com")
    assert not may(template, role, "kms:Decrypt", KEY, ViaService="lambda.us-east-1.amazonaws.com")
    assert not may(template, role, "kms:GenerateDataKey", KEY, ViaService="s3.us-east-1.amazonaws.com")


def test_what_roles_may_not():
    template = make_templates(FULL).root
    for role in ("ProcessorRole", "AllocatorRole", "CoordinatorRole"):
        assert may(template, role, "s3:GetObject", "arn:aws:s3:::data/indexes/words/manifest/1")
        assert not may(template, role, "s3:GetObject", "arn:aws:s3:::data/indexes/words2/manifest/1")
        assert not may(template, role, "s3:PutObject", "arn:aws:s3:::data/indexes/words/manifest/1")
        assert not may(template, role, "lambda:InvokeFunction", f"{LAMBDA}words-coordinator:live")
        assert not may(template, role, "lambda:InvokeFunction", f"{LAMBDA}words-processor-0")
        assert may(template, role, "s3:ListBucket", LIST[1], prefix="indexes/words/manifest/") == (
            role == "CoordinatorRole"
        )
        assert not may(template, role, "s3:ListBucket", LIST[1], prefix="indexes/")


@pytest.mark.parametrize("shards", [MOST_NAMED, MOST_NAMED + 1, 475, 1500])
def test_policies_of_many_shards_fit_and_reach_all(shards):
    spec = replace(FULL, stack="w" * 40, shards=shards, index=f"s3://{'b' * 63}/{'p' * 100}", snap_start=False)
    template = make_templates(spec).root
    for role in ("AllocatorRole", "CoordinatorRole"):
        document = json.dumps(statements(template, role), separators=(",", ":"))
        assert len(document) + 40 <= 10_240
        for shard in {0, 9, 10, 63, 99, 100, shards - 1}:
            name = f"{LAMBDA}{'w' * 40}-processor-{shard}:live"
            if shard < shards:
                assert may(template, role, "lambda:InvokeFunction", name)
        longer = 10 ** len(str(shards))
        for other in (f"processor-{longer}:live", "http:live", "coordinator:live", "processor-x-allocator:live"):
            assert not may(template, role, "lambda:InvokeFunction", f"{LAMBDA}{'w' * 40}-{other}")


def functions_of(spec):
    """Properties of all functions by name, those of nested stacks too, after the transform."""
    templates = make_templates(spec)
    found = {}
    for template in (templates.root, *templates.nested.values()):
        for resource in transform(template)["Resources"].values():
            if resource["Type"] == "AWS::Lambda::Function":
                found[resource["Properties"]["FunctionName"]] = resource["Properties"]
    return found


@SPECS
def test_every_function_is_there_with_the_role_of_its_own(spec):
    functions = functions_of(spec)
    names = {"words-coordinator", "words-allocator", *(f"words-processor-{i}" for i in range(spec.shards))}
    assert set(functions) == names | ({"words-http"} if spec.api_key_sha256 else set())
    for name, properties in functions.items():
        role = ROLES.get(name.split("-")[1], "ProcessorRole")
        nested = {"Ref": "Role"}
        assert properties["Role"] in ({"Fn::GetAtt": [role, "Arn"]}, nested)
        assert properties["Role"] != nested or role == "ProcessorRole"
        assert properties["Architectures"] == [spec.arch]
        assert properties["LoggingConfig"] == {"LogGroup": "/vsearch/words"}
        assert ("SnapStart" in properties) == spec.snap_start
        variables = properties["Environment"]["Variables"]
        assert (variables["VSEARCH_INDEX"], variables["VSEARCH_ALIAS"]) == (spec.index, "live")
        assert spec.variables.items() <= variables.items()


def test_how_many_may_use_the_url_at_once_can_be_limited():
    limited = {name: p.get("ReservedConcurrentExecutions") for name, p in functions_of(FULL).items()}
    assert limited.pop("words-http") == 20
    assert set(limited.values()) == {None}
    assert "ReservedConcurrentExecutions" not in functions_of(replace(FULL, http_concurrency=None))["words-http"]
    for wrong in ({"http_concurrency": 0}, {"http_concurrency": 5, "api_key_sha256": None}):
        with pytest.raises(vsearch.InputError, match="http_concurrency"):
            make_templates(replace(FULL, **wrong))


def test_many_shards_become_nested_stacks():
    for shards, stacks in ((MOST_PROCESSORS, 0), (MOST_PROCESSORS + 1, 2), (700, 5)):
        templates = make_templates(replace(FULL, shards=shards))
        assert len(templates.nested) == stacks
        for template in (templates.root, *templates.nested.values()):
            resources = transform(template)["Resources"]
            assert len(resources) <= LARGEST_RESOURCES
            assert len(render(template)) < 1_000_000
        if stacks:
            assert all(url.startswith("s3://code/vsearch/stacks/words/") for url in templates.nested)
            addresses = {
                resolve(each["Properties"]["TemplateURL"], templates.root, {})
                for each in templates.root["Resources"].values()
                if each["Type"] == "AWS::CloudFormation::Stack"
            }
            here = {url.replace("s3://", "https://s3.us-east-1.amazonaws.com/") for url in templates.nested}
            assert addresses == here


@SPECS
def test_every_function_publishes_a_version_under_the_release(spec):
    templates = make_templates(spec)
    for template in (templates.root, *templates.nested.values()):
        resources = transform(template)["Resources"].values()
        functions = [each for each in resources if each["Type"] == "AWS::Lambda::Function"]
        versions = [each["Properties"] for each in resources if each["Type"] == "AWS::Lambda::Version"]
        aliases = [each["Properties"] for each in resources if each["Type"] == "AWS::Lambda::Alias"]
        assert len(functions) == len(versions) == len(aliases)
        assert {each["Description"] for each in versions} == {
            f"vsearch release {templates.release} of {spec.shards} shards"
        }
        assert {each["Name"] for each in aliases} == {"live"}


@pytest.mark.parametrize(
    "change",
    [
        {"code": "s3://code/vsearch/stacks/words/abd.zip"},
        {"index": "s3://data/indexes/words-2"},
        {"shards": 4},
        {"memory": 3008},
        {"api_key_sha256": "1" * 64},
        {"http_concurrency": 21},
        {"kms_key": SPILL_KEY},
    ],
)
def test_what_changes_is_another_release(change):
    def versions(spec):
        template = transform(make_templates(spec).root)
        return {name for name, each in template["Resources"].items() if each["Type"] == "AWS::Lambda::Version"}

    other = replace(FULL, **change)
    assert make_templates(FULL) == make_templates(FULL)
    assert make_templates(other).release != make_templates(FULL).release
    assert versions(FULL) == versions(FULL)
    assert versions(other).isdisjoint(versions(FULL))  # so that every function has a version of every release


@pytest.mark.parametrize(
    ("wrong", "got"), [({"memory": 64}, "64, "), ({"timeout": 901}, ", 901 and "), ({"shards": 0}, " and 0")]
)
def test_sizes_out_of_range_are_refused(wrong, got):
    with pytest.raises(vsearch.InputError, match=f"memory must be 128 to 10240 MB, .*, got .*{got}"):
        make_templates(replace(FULL, **wrong))


@SPECS
def test_what_is_rendered_is_the_template(spec):
    templates = make_templates(spec)
    for template in (templates.root, *templates.nested.values()):
        assert yaml.safe_load(render(template)) == template


@pytest.fixture
def written(tmp_path):
    """Files of the templates, of nested stacks the first."""
    paths = []
    for spec in (SPEC, FULL, LARGE):
        templates = make_templates(spec)
        for template in (templates.root, *list(templates.nested.values())[:1]):
            paths.append(tmp_path / f"template-{len(paths)}.yaml")
            paths[-1].write_text(render(template))
    return [str(path) for path in paths]


def test_cfn_lint_is_content(written):
    command = [str(Path(sys.executable).with_name("cfn-lint")), *written]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(
    shutil.which("sam") is None, reason="aws-sam-cli is not installed: it takes an environment of its own"
)
def test_sam_validates(written):
    for path in written:
        command = ["sam", "validate", "--lint", "--template", path, "--region", "us-east-1"]
        environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "is a valid SAM Template" in done.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"stack": "a b"},
        {"stack": "words-processor"},
        {"index": "/folder"},
        {"index": "s3://data/*"},
        {"arch": "mips"},
        {"runtime": "python3.11"},
        {"memory": 1},
        {"shards": 0},
        {"timeout": 901},
        {"kms_key": "alias/mine"},
        {"variables": {"VSEARCH_INDEX": "s3://other"}},
        {"variables": {"A-B": "1"}},
    ],
)
def test_what_cannot_be_deployed(change):
    with pytest.raises(vsearch.InputError):
        make_templates(replace(SPEC, **change))


def test_the_example_in_the_functions_folder_is_what_is_deployed():
    import functions

    spec = StackSpec("words", "s3://my-bucket/words", 4, "s3://my-bucket/vsearch/stacks/words/package.zip")
    path = Path(functions.__file__).with_name("template.yaml")
    body = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
    changing = ChangingSpec(
        "s3://my-bucket/vsearch/stacks/words/changes.zip", writer=True, write_key_sha256="1" * 64, keep_minutes=15
    )
    assert body == render(make_templates(replace(spec, api_key_sha256="0" * 64, changing=changing)).root)
