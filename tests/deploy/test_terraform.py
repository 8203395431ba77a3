"""The Terraform module has the functions and the permissions of the template, and Terraform accepts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace

import pytest

import vsearch
from tests.deploy.policies import statements
from tests.deploy.test_template import CHANGING, FULL, LARGE, SPEC
from vsearch.deploy.aws.template import make_templates
from vsearch.deploy.aws.terraform import FILE, make_module, write_module
from vsearch.deploy.packages import Package

EVERYTHING = replace(CHANGING, kms_key=FULL.kms_key, overflow=FULL.overflow, snap_start=True, http_concurrency=5)
SPECS = pytest.mark.parametrize(
    "spec", [SPEC, FULL, LARGE, CHANGING, EVERYTHING], ids=["plain", "full", "large", "changing", "everything"]
)
VALUES = {
    "data.aws_partition.current.partition": "aws",
    "data.aws_region.current.id": "us-east-1",
    "data.aws_caller_identity.current.account_id": "123456789012",
}


def urls(spec):
    return [spec.code, *([spec.changing.code] if spec.changing else [])]


def module_of(spec, **options):
    return make_module(spec, dict.fromkeys(urls(spec), "p.zip"), **options)


def filled(text):
    """A text with the values that `resolve` has for the pseudo-parameters of templates."""
    return re.sub(r"\$\{(data[^}]*)\}", lambda match: VALUES[match[1]], text)


@SPECS
def test_roles_are_those_of_the_template(spec):
    module, template = module_of(spec), make_templates(spec).root
    names = {name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::IAM::Role"}
    written = {"".join(map(str.title, name.split("_"))) for name in module["resource"]["aws_iam_role"]}
    assert written == names
    keys = {"KmsKey": spec.kms_key or "", "OverflowKmsKey": spec.overflow_kms_key or ""}
    for name in names:
        policy = module["resource"]["aws_iam_role_policy"][re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()]["policy"]
        assert json.loads(filled(policy))["Statement"] == statements(template, name, keys)


@SPECS
def test_functions_are_those_of_the_template(spec):
    module, templates = module_of(spec), make_templates(spec)
    written = {}
    for body in module["resource"]["aws_lambda_function"].values():
        for number in range(body.get("count", 1)):
            written[body["function_name"].replace("${count.index}", str(number))] = body
    expected = {}
    for template in (templates.root, *templates.nested.values()):
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                shared = template["Globals"]["Function"]
                expected[resource["Properties"]["FunctionName"]] = (shared, resource["Properties"])
    assert set(written) == set(expected)
    for name, (shared, own) in expected.items():
        body, properties = written[name], shared | own
        variables = shared["Environment"]["Variables"] | own.get("Environment", {}).get("Variables", {})
        assert body["environment"]["variables"] == variables
        assert (body["handler"], body["runtime"]) == (properties["Handler"], properties["Runtime"])
        assert (body["memory_size"], body["timeout"]) == (properties["MemorySize"], properties["Timeout"])
        assert body["architectures"] == properties["Architectures"] == [spec.arch]
        assert body.get("reserved_concurrent_executions") == properties.get("ReservedConcurrentExecutions")
        assert body["description"] == properties["VersionDescription"]
        assert ("snap_start" in body) == ("SnapStart" in properties)
        package = body["s3_key"].removeprefix("${").removesuffix(".key}").rpartition(".")[2]
        assert properties["CodeUri"].endswith(module["resource"]["aws_s3_object"][package]["key"])
    aliases = module["resource"]["aws_lambda_alias"]
    assert set(aliases) == set(module["resource"]["aws_lambda_function"])
    assert {alias["name"] for alias in aliases.values()} == {"live"}


def test_texts_are_not_interpolated():
    module = module_of(replace(SPEC, variables={"A_B": "${x} %{y} $z"}, tags={"a": "${t}"}))
    for body in module["resource"]["aws_lambda_function"].values():
        assert body["environment"]["variables"]["A_B"] == "$${x} %%{y} $z"
        assert body["tags"]["a"] == "$${t}"


def test_the_provider_is_the_callers_unless_there_is_a_region():
    assert "provider" not in module_of(SPEC)
    assert module_of(SPEC, region="eu-west-1")["provider"] == {"aws": {"region": "eu-west-1"}}


@pytest.fixture
def packages(tmp_path):
    made = {}
    for number, url in enumerate(urls(EVERYTHING)):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("functions/processor.py", "")
        made[url] = Package(path, "x86_64", "3.13", 1, 1, "abc")
    return made


def test_a_folder_is_written_again_but_never_the_file_of_another(packages, tmp_path):
    folder = tmp_path / "it's here"
    commands = write_module(EVERYTHING, packages, folder)
    assert commands == [f"terraform '-chdir={tmp_path}/it'\"'\"'s here' {verb}" for verb in ("init", "apply")]
    assert {path.name for path in folder.iterdir()} == {FILE, "vsearch.zip", "vsearch-changes.zip"}
    (folder / "backend.tf").write_text("")
    write_module(replace(EVERYTHING, memory=512), packages, folder)
    assert json.loads((folder / FILE).read_text())["resource"]["aws_lambda_function"]["http"]["memory_size"] == 512
    assert (folder / "backend.tf").exists()
    for content in ("", "[]", "{}", "\ufffe"):
        (folder / FILE).write_text(content)
        with pytest.raises(vsearch.InputError, match="not written by vsearch"):
            write_module(EVERYTHING, packages, folder)
        assert (folder / FILE).read_text() == content
    with pytest.raises(vsearch.InputError, match="not a folder"):
        write_module(EVERYTHING, packages, folder / FILE)


def terraform(folder, *arguments, **variables):
    command = ["terraform", f"-chdir={folder}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | variables, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform")
def test_terraform_creates_and_destroys_it(packages, tmp_path):
    """On moto, which keeps neither log groups of functions nor SnapStart: a second plan would change them again."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    folder = tmp_path / "module"
    write_module(EVERYTHING, packages, folder, "us-east-1")
    status, output = terraform(folder, "init", "-input=false", "-no-color")
    if status:
        pytest.skip(f"terraform cannot install the provider: {output[-300:]}")
    status, output = terraform(folder, "validate", "-no-color")
    assert status == 0, output
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        variables = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_ENDPOINT_URL": endpoint}
        (folder / "test_override.tf.json").write_text('{"provider": {"aws": {"s3_use_path_style": true}}}')
        session = boto3.Session("x", "y", region_name="us-east-1")
        session.client("s3", endpoint_url=endpoint).create_bucket(Bucket="code")
        status, output = terraform(folder, "apply", "-auto-approve", "-input=false", "-no-color", **variables)
        assert status == 0, output
        client = session.client("lambda", endpoint_url=endpoint)
        names = {function["FunctionName"] for function in client.list_functions()["Functions"]}
        roles = ("coordinator", "allocator", "http", "writer", "keeper", *(f"processor-{n}" for n in range(3)))
        assert names == {f"words-{role}" for role in roles}
        assert {client.get_alias(FunctionName=name, Name="live")["FunctionVersion"] for name in names} == {"1"}
        status, output = terraform(folder, "destroy", "-auto-approve", "-input=false", "-no-color", **variables)
        assert status == 0, output
        assert client.list_functions()["Functions"] == []
    finally:
        server.stop()


def test_the_command_writes_a_module(packages, monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from tests.fanout.conftest import make_sample
    from vsearch.cli.app import app
    from vsearch.storage import open_store

    index = str(tmp_path / "index")
    vectors, attributes, _ = make_sample(300, 16, 2)
    vsearch.build(vectors, index, attributes, shards=2, partitions=6)
    opened = open_store(index)
    monkeypatch.setattr("vsearch.storage.open_store", lambda *_, **__: opened)
    monkeypatch.setattr("vsearch.deploy.packages.build_package", lambda *_, **__: packages[SPEC.code])
    asked = ["deploy", "s3://data/indexes/words", "--stack", "words", "--platform", "terraform"]
    folder = tmp_path / "out"
    done = CliRunner().invoke(app, [*asked, "--out", str(folder), "--writer", "--region", "eu-west-1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [f"terraform -chdir={folder} {verb}" for verb in ("init", "apply")]
    module = json.loads((folder / FILE).read_text())
    assert module["resource"]["aws_lambda_function"]["processor"]["count"] == 2
    assert "writer" in module["resource"]["aws_lambda_function"]
    for option in (["--dry-run"], ["--no-url"], ["--keep", "5"]):
        refused = CliRunner().invoke(app, [*asked, *option])
        assert refused.exit_code == 2
        assert "only writes a module" in " ".join(refused.output.split())
