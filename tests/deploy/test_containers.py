"""Folders of images: what is in them, what they start, and what is refused. Nothing is built or started."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys

import pytest
import yaml

import vsearch
from vsearch.deploy.containers import (
    ContainerSpec,
    arguments,
    compose,
    dockerfile,
    installed_bytes,
    knative,
    requirements,
    write_context,
)
from vsearch.deploy.rendering import render


def written(folder, index="s3://bucket/words", platform="container", **options):
    spec = ContainerSpec(index, "words", platform, **options)
    commands = write_context(spec, folder / "out")
    name = "compose.yaml" if platform == "container" else "service.yaml"
    return folder / "out", yaml.safe_load((folder / "out" / name).read_text()), commands


def variables(folder):
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_a_server_and_its_s3(tmp_path):
    folder, services, commands = written(tmp_path, writable=True, memory=1024)
    server, s3 = services["services"]["vsearch"], services["services"]["s3"]
    assert server["command"][:2] == ["serve", "s3://bucket/words"]
    assert "--writable" in server["command"]
    assert server["environment"]["AWS_ENDPOINT_URL"] == "http://s3:8333"
    assert (server["mem_limit"], server["read_only"], server["cap_drop"]) == ("1024m", True, ["ALL"])
    assert all(port.startswith("127.0.0.1:") for each in (server, s3) for port in each["ports"])
    keys = variables(folder)
    asked = {name for name, value in server["environment"].items() if value == f"${{{name}:?set it in .env}}"}
    assert asked == set(keys)
    assert len({*keys.values()}) == len(keys) == 4
    identity = json.loads((folder / "s3.json").read_text())["identities"][0]["credentials"][0]
    assert (identity["accessKey"], identity["secretKey"]) == (keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    for name in (".env", "s3.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert "vsearch" in (folder / ".dockerignore").read_text()
    assert not any(name in (folder / ".dockerignore").read_text() for name in ("!.env", "!s3.json"))
    assert commands == [f"docker compose --project-directory {folder} up --build --detach"]


def test_a_folder_and_another_s3(tmp_path):
    (tmp_path / "index").mkdir()
    _, services, _ = written(tmp_path, str(tmp_path / "index"))
    assert services["services"].keys() == {"vsearch"}
    mount = {"type": "bind", "source": str(tmp_path / "index"), "target": "/index", "read_only": True}
    assert services["services"]["vsearch"]["volumes"] == [mount]
    assert services["services"]["vsearch"]["command"][1] == "/index"
    shutil.rmtree(tmp_path / "out")
    _, services, _ = written(tmp_path, endpoint="https://minio.example")
    assert services["services"].keys() == {"vsearch"}
    assert services["services"]["vsearch"]["environment"]["AWS_ENDPOINT_URL"] == "https://minio.example"
    assert "AWS_ALLOW_HTTP" not in services["services"]["vsearch"]["environment"]


@pytest.mark.parametrize("name", ["a$HOME", "a${x}", "a:b", "a'b\"c", "a #b: c", "gr\u00f6\u00dfe", "- a"])
def test_folders_of_any_name(tmp_path, name):
    services = yaml.safe_load(render(compose(ContainerSpec(str(tmp_path / name), "words", "container"))))
    (mount,) = services["services"]["vsearch"]["volumes"]
    assert "$" not in mount["source"].replace("$$", "")
    assert mount["source"].replace("$$", "$") == str(tmp_path / name)
    services = compose(ContainerSpec("s3://bucket/a$HOME", "words", "container"))
    assert services["services"]["vsearch"]["command"][1] == "s3://bucket/a$$HOME"


@pytest.mark.parametrize(
    ("memory", "workers", "expected"),
    [(512, 1, "1"), (4096, 1, "1"), (8192, 1, "2"), (8193, 2, "4"), (32_768, 1, "8"), (512, 3, "4")],
)
def test_processors_that_the_memory_needs(memory, workers, expected):
    service = knative(ContainerSpec("gs://b/i$(HOME)", "words", "cloudrun", memory=memory, workers=workers))
    (container,) = service["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["cpu"] == expected
    assert container["args"][1] == "gs://b/i$$(HOME)"


def test_a_service_of_cloud_run(tmp_path):
    folder, service, commands = written(tmp_path, "gs://bucket/words", "cloudrun", timeout=30, region="europe-west1")
    assert (service["apiVersion"], service["kind"]) == ("serving.knative.dev/v1", "Service")
    revision = service["spec"]["template"]["spec"]
    (container,) = revision["containers"]
    assert revision["timeoutSeconds"] == 30
    assert container["args"] == ["serve", "gs://bucket/words", "--host", "0.0.0.0", "--port", "8080", "--workers", "1"]
    assert container["image"] == "europe-west1-docker.pkg.dev/PROJECT/vsearch/words"
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "words-api-key", "key": "latest"}
    assert container["startupProbe"]["httpGet"]["path"] == "/health"
    assert all(isinstance(value, str) for value in service["spec"]["template"]["metadata"]["annotations"].values())
    assert not (folder / ".env").exists()
    assert all(command.startswith(("gcloud ", "sed ")) for command in commands)


def test_the_arguments_are_those_of_the_command():
    from vsearch.serving.settings import ServerSettings

    for writable in (False, True):
        given = arguments(ContainerSpec("s3://b/i", "a", "container", writable=writable))
        done = subprocess.run(
            [sys.executable, "-m", "vsearch.cli", *given, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    with pytest.raises(vsearch.InputError, match="VSEARCH_API_KEY"):  # as compose demands
        ServerSettings.of(["s3://b/i"], "0.0.0.0", {}, writable=False)


def test_what_the_image_holds(tmp_path):
    folder, _, _ = written(tmp_path)
    text = (folder / "Dockerfile").read_text()
    assert text == dockerfile(ContainerSpec("s3://bucket/words", "words", "container"))
    assert "USER 10001" in text
    copied = {line.split()[-2] for line in text.splitlines() if line.startswith("COPY") and "--from" not in line}
    assert all((folder / name).exists() for name in copied)
    listed = requirements()
    assert any(each.startswith("uvicorn") for each in listed)
    assert not any("extra" in each or each.startswith(("mcp", "matplotlib", "torch")) for each in listed)
    assert not list((folder / "vsearch").rglob("*.pyc"))
    assert (folder / "vsearch" / "serving" / "pages" / "console.html").exists()
    assert 100e6 < installed_bytes() < 3e9
    done = subprocess.run(
        [sys.executable, "-c", "import vsearch.serving.app; print(vsearch.__file__)"],
        cwd=folder, env={"PYTHONPATH": str(folder), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(folder / "vsearch" / "__init__.py"), done.stderr


@pytest.mark.parametrize(
    ("index", "name", "options", "message"),
    [
        ("s3://b/i", "Words", {}, "lower-case"), ("s3://b/i", "a;b", {}, "lower-case"), ("s3://b/i", "a", {"arch": "mips"}, "arch"),
        ("s3://b/i", "a", {"memory": 1}, "memory"), ("folder", "a", {"platform": "cloudrun"}, "a folder"),
        ("gs://b/i", "a", {"platform": "cloudrun", "arch": "arm64"}, "x86_64"), ("lambda://a", "a", {}, "the index of a container"),
        ("s3://b/i", "a", {"platform": "floppy"}, "platform"), ("s3://b/i", "a", {"python": "3.13\nRUN evil"}, "python"),
        ("s3://b/i", "a", {"python": "2.7"}, "python"), ("s3://b/i", "a", {"workers": 0}, "workers"),
        ("gs://b/i", "a", {"platform": "cloudrun", "region": "us; rm -rf ~"}, "region"),
        ("gs://b/i", "a", {"platform": "cloudrun", "timeout": 10**9}, "timeout"),
        ("s3://key:secret@b/i", "a", {}, r"must not contain keys, got 's3://\*\*\*@b/i'"),
        ("az://c/i?sig=secret", "a", {}, r"keys, got 'az://c/i\?\*\*\*'"),
        ("lambda://key:secret@b", "a", {}, r"must be .* got 'lambda://\*\*\*@b'"),
        ("s3://b/i", "a", {"endpoint": "http://user:secret@h"}, r"keys, got 'http://\*\*\*@h'"),
        ("s3://b/i\nx: y", "a", {}, "printable"), ("s3://b/i", "a", {"endpoint": "http://h\nx: y"}, "printable"),
    ],
)  # fmt: skip
def test_what_is_refused(index, name, options, message):
    with pytest.raises(vsearch.InputError, match=message):
        ContainerSpec(index, name, **{"platform": "container", **options})


def test_the_command(tmp_path, capsys):
    from tests.cli.conftest import invoke

    folder = tmp_path / "out"
    done = invoke(
        "deploy", "s3://bucket/words", "--stack", "words", "--platform", "container", "--out", folder, "--json"
    )
    assert done.json["commands"][0].startswith("docker compose")
    assert (folder / "compose.yaml").exists()
    keys = {"VSEARCH_API_KEY": "mine", "VSEARCH_WRITE_KEY": "too"}
    spec = ContainerSpec("s3://b/i", "words", "container", writable=True)
    write_context(spec, tmp_path / "keys", keys)
    assert keys.items() <= variables(tmp_path / "keys").items()
    with pytest.raises(vsearch.InputError, match="a key for Docker"):
        write_context(spec, tmp_path / "bad", {"VSEARCH_API_KEY": "a\nb"})
    assert not (tmp_path / "bad").exists()
    for more, message in (
        (["--platform", "container"], "already exists"), (["--platform", "floppy"], "--platform must be"),
        (["--platform", "cloudrun", "--kms-key", "k"], "--kms-key is for functions"), ([], "--out requires"),
    ):  # fmt: skip
        done = invoke("deploy", "s3://bucket/words", "--stack", "words", "--out", folder, *more)
        assert (done.status, message in done.errors) == (2, True), done.errors
