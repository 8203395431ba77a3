"""Packages hold what a worker needs for its machine and its Python, and nothing else; that for arm64 answers, too.

To run the latter's test, qemu-user must be there and ``VSEARCH_ARM64_ROOT`` must name a folder with an aarch64 system that
has this version of Python, such as Debian's arm64 packages of libc6, libstdc++6, libgcc-s1, zlib1g, libexpat1, libssl3,
libffi8, libpython3.11-stdlib, libpython3.11-minimal and python3.11-minimal unpacked into it by ``dpkg-deb -x``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import make_sample
from vsearch.deploy import packages
from vsearch.deploy.packages import HERE, LARGEST_UNZIPPED, build_package, loads_on
from vsearch.faas.packages import runtime_folder
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.messages import Options, SearchRequest, floats
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.values import to_values
from vsearch.fanout.wire.where import encode_where
from vsearch.kernels.toolchain.library import INDEX, TARGETS, sources_digest

AARCH64, X86_64 = 183, 62
ROOT = os.environ.get("VSEARCH_ARM64_ROOT")


@pytest.fixture(scope="session")
def arm_package(tmp_path_factory, compiled):
    folder = tmp_path_factory.mktemp("package-arm64")
    return fetched(folder / "vsearch.zip", "arm64", HERE, compiled("aarch64-dotprod"))


def fetched(path, arch, python, kernels):
    """A package whose libraries are fetched; without a package index that cannot be tested."""
    try:
        return build_package(path, arch, python, kernels=kernels)
    except vsearch.MissingDependencyError as error:
        if re.search(r"NewConnectionError|Max retries|ConnectionError|resolve host", str(error)):
            pytest.skip("no package index can be reached")
        raise


def assert_fit(package, machine, python):
    assert package.unzipped <= LARGEST_UNZIPPED
    assert package.zipped < 50 * 1024 * 1024
    tag = f"cpython-{python.replace('.', '')}"
    with zipfile.ZipFile(package.path) as archive:
        names = set(archive.namelist())
        assert sum(info.file_size for info in archive.infolist()) == package.unzipped
        for name in names:
            if re.search(r"\.so(\.[0-9.]+)?$", name):
                start = archive.read(name)[:20]
                assert start[:4] == b"\x7fELF"
                assert struct.unpack("<H", start[18:20])[0] == machine, name
                assert archive.getinfo(name).external_attr >> 16 & 0o555 == 0o555
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name and ".libs/" not in name}
    assert tops == {
        "functions",
        "vsearch",
        "numpy",
        "obstore",
        "msgspec",
        "google_crc32c",
        "snowballstemmer",
        "sqlglot",
    }
    sources = {name for name in names if name.endswith(".py")}
    assert f"functions/__pycache__/processor.{tag}.pyc" in names
    compiled = {re.sub(r"__pycache__/([^/]+)\.cpython-\d+\.pyc$", r"\1.py", name) for name in names if ".pyc" in name}
    assert compiled == sources
    assert not any("/tests/" in name for name in names)
    return names


IMPORT_ALL = """
import importlib, json, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
import vsearch
assert vsearch.__file__.startswith(str(root)), vsearch.__file__
missing = {}
for path in sorted(root.rglob("*.py")):
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "vsearch":
            missing[name] = error.name
print(json.dumps(missing))
"""


@pytest.mark.parametrize("changes", [False, True])
def test_what_handlers_import_of_vsearch_is_in_the_package(tmp_path, changes):
    packages._copy_own(tmp_path, changes=changes)
    command = [sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    missing = json.loads(done.stdout)
    assert missing == {}


def test_the_package_of_this_machine(package):
    names = assert_fit(package, {"x86_64": X86_64, "aarch64": AARCH64}[platform.machine()], HERE)
    assert package.python == HERE
    assert {"vsearch/fanout/platforms/hosting.py", "functions/http.py"} <= names
    assert not any(
        name.startswith(("vsearch/deploy", "vsearch/cli", "vsearch/building", "vsearch/jpq")) for name in names
    )
    encoders = {path.stem for path in map(Path, names) if path.parts[:2] == ("vsearch", "encoders")}
    assert {"reading", "running", "wordpiece", "queries"} <= encoders
    assert encoders.isdisjoint({"compressing", "float_model", "folders", "loading", "writing"})


def test_the_package_for_arm64(arm_package):
    names = assert_fit(arm_package, AARCH64, HERE)
    assert "vsearch/kernels/compiled/aarch64-dotprod.so" in names
    assert not any("x86" in name and name.endswith(".so") for name in names)


@pytest.mark.skipif(shutil.which("python3.13") is None or HERE == "3.13", reason="no other Python is installed")
def test_the_package_for_another_python(tmp_path, kernels):
    asked = [shutil.which("python3.13"), "-c", "import sys; print(sys.version)"]
    if not subprocess.run(asked, capture_output=True, check=False).stdout.startswith(b"3.13"):
        pytest.skip("python3.13 does not start")
    package = fetched(tmp_path / "vsearch.zip", "x86_64", "3.13", kernels)
    assert_fit(package, X86_64, "3.13")
    with zipfile.ZipFile(package.path) as archive:
        archive.extractall(tmp_path / "code")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'code')!r}); import functions.processor; print('numba' in sys.modules)"
    done = subprocess.run([asked[0], "-S", "-I", "-c", code], env={}, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


ARM_SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import vsearch.kernels.toolchain.library as library
library.processor_features = lambda: frozenset(("asimd", "asimddp", "asimdhp"))  # qemu shows the host's
from functions.coordinator import handler
print(json.dumps(handler(json.load(sys.stdin), None)))
"""


@pytest.mark.skipif(
    not ROOT or shutil.which("qemu-aarch64") is None, reason="VSEARCH_ARM64_ROOT names no aarch64 system"
)
@pytest.mark.parametrize("where", [None, "price < 43.21 AND year >= 2001"])
def test_the_package_for_arm64_answers(tmp_path, arm_package, where):
    with zipfile.ZipFile(arm_package.path) as archive:
        archive.extractall(tmp_path / "code")
    vectors, attributes, queries = make_sample(500, 16, 4)
    index = vsearch.build(vectors, str(tmp_path / "index"), attributes, shards=2, partitions=8)
    request = SearchRequest(
        count=24,
        dimensions=16,
        queries=queries.tobytes(),
        options=Options(k=5, where=encode_where(where), columns=("word",)),
        mode="alone",
    )
    command = ["qemu-aarch64", "-cpu", "max", "-L", ROOT, "-E", f"VSEARCH_INDEX={tmp_path / 'index'}"]
    command += ["-E", "VSEARCH_STACK=a", "-E", "AWS_ACCESS_KEY_ID=a", "-E", "AWS_SECRET_ACCESS_KEY=b"]
    command += [f"{ROOT}/usr/bin/python{HERE}", "-S", "-I", "-c", ARM_SCRIPT, str(tmp_path / "code")]
    event = json.dumps(to_event(wire.encode(request)))
    command[0] = shutil.which(command[0])
    done = subprocess.run(command, input=event, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = open_reply(Envelope(), from_event(json.loads(done.stdout)), "arm64")
    expected = index.search(queries, k=5, where=where)
    assert to_values(answer.ids) == expected.ids[expected.ids != -1].tolist()
    np.testing.assert_allclose(floats(answer.scores), expected.scores[expected.ids != -1], rtol=1e-5)


def test_the_package_answers_json_with_sql(tmp_path, package):
    with zipfile.ZipFile(package.path) as archive:
        archive.extractall(tmp_path / "code")
    vectors, attributes, queries = make_sample(300, 16, 4)
    index = vsearch.build(vectors[:200], str(tmp_path / "index"), attributes[:200], shards=2, partitions=6)
    index.append(vectors[200:250], attributes[200:250])  # what was changed is read without an Arrow library, too
    index.optimize(force=True)
    index.append(vectors[250:], attributes[250:])
    index.delete(where="ok")
    where = "word LIKE 'w%' AND (year BETWEEN 1990 AND 2010 OR price < 10)"
    body = json.dumps({"vector": queries[0].tolist(), "k": 5, "where": where})
    event = {
        "requestContext": {"http": {"method": "POST"}},
        "rawPath": "/search",
        "headers": {"x-api-key": "k"},
        "body": body,
    }
    script = "import json, sys; sys.path.insert(0, sys.argv[1]); from functions.http import handler; "
    script += "print(json.dumps([handler(json.load(sys.stdin), None), sorted(sys.modules)]))"
    variables = {"VSEARCH_INDEX": str(tmp_path / "index"), "VSEARCH_STACK": "a", "AWS_ACCESS_KEY_ID": "a"}
    variables |= {"AWS_SECRET_ACCESS_KEY": "b", "VSEARCH_API_KEY_SHA256": hashlib.sha256(b"k").hexdigest()}
    command = [sys.executable, "-S", "-I", "-c", script, str(tmp_path / "code")]
    done = subprocess.run(command, input=json.dumps(event), env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, modules = json.loads(done.stdout)
    assert answer["statusCode"] == 200, answer["body"]
    hits = json.loads(answer["body"])["hits"][0]
    expected = index.search(queries[0], k=5, where=where)
    assert [hit["id"] for hit in hits] == expected.ids[0][expected.ids[0] != -1].tolist()
    assert {"numba", "pyarrow", "boto3"}.isdisjoint(modules)


@pytest.mark.parametrize(
    ("tags", "arch", "expected"),
    [
        (["cp313-cp313-manylinux_2_27_x86_64", "cp313-cp313-manylinux_2_28_x86_64"], "x86_64", True),
        (["cp313-cp313-manylinux2014_aarch64"], "arm64", True),
        (["cp313-cp313-manylinux2014_aarch64"], "x86_64", False),
        (["cp313-cp313-manylinux_2_39_x86_64"], "x86_64", False),
        (["cp313-cp313-linux_x86_64"], "x86_64", False),
        (["cp313-cp313-musllinux_1_2_x86_64"], "x86_64", False),
        (["cp313-cp313-macosx_11_0_arm64"], "arm64", False),
        (["py3-none-any"], "arm64", True),
        ([], "x86_64", False),
    ],
)
def test_what_loads_on_the_platform(tags, arch, expected):
    assert loads_on("Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags), arch) is expected


@pytest.mark.parametrize(("arch", "python"), [("mips", HERE), ("arm64", "3"), ("x86_64", "3.13; rm")])
def test_what_cannot_be_built(tmp_path, arch, python):
    with pytest.raises(vsearch.InputError, match="must be"):
        build_package(tmp_path / "p.zip", arch, python)


def test_an_interpreter_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(vsearch.MissingDependencyError, match=r"install python3\.19"):
        packages._interpreter("3.19")


def test_kernels_of_other_sources_are_not_shipped(tmp_path, kernels):
    for path in Path(kernels).iterdir():
        shutil.copy(path, tmp_path)
    described = json.loads((tmp_path / INDEX).read_bytes())
    (tmp_path / INDEX).write_text(json.dumps({**described, "sources": "0"}))
    with pytest.raises(vsearch.MissingDependencyError, match="compiled from other sources"):
        build_package(tmp_path / "p.zip", kernels=tmp_path)
    with pytest.raises(vsearch.MissingDependencyError, match="no kernels compiled"):
        build_package(tmp_path / "p.zip", kernels=tmp_path / "empty")


def compiled_here(folder, targets):
    """What a build leaves, with stand-ins for libraries."""
    folder.mkdir(parents=True, exist_ok=True)
    for target in targets:
        (folder / f"{target}.so").write_text(target)
    (folder / INDEX).write_text(json.dumps({"sources": sources_digest(), "functions": {"a.b": {}}}))


@pytest.mark.parametrize(
    ("there", "arch", "made"),
    [
        (["x86-64-avx512"], "x86_64", ["x86-64-v3"]),
        (["x86-64-avx512"], "arm64", ["aarch64-dotprod"]),
        ([], "x86_64", ["x86-64-avx512", "x86-64-v3"]),
        (["x86-64-avx512", "x86-64-v3"], "x86_64", []),
    ],
)
def test_kernels_for_every_processor_of_the_architecture_are_in(tmp_path, monkeypatch, there, arch, made):
    """An install compiles for its own processor, and functions may run on any."""
    asked = []
    monkeypatch.setattr(packages, "FOLDER", tmp_path / "own")
    if there:
        compiled_here(tmp_path / "own", there)
    monkeypatch.setattr(
        "vsearch.kernels.toolchain.ahead_of_time.build",
        lambda to, targets, _: (asked.extend(targets), compiled_here(to, targets)),
    )
    packages._copy_kernels(tmp_path / "to", arch, None)
    assert asked == made
    names = {path.name for path in (tmp_path / "to").iterdir()}
    assert names == {f"{target}.so" for target in TARGETS[packages.MACHINES[arch]]} | {INDEX}
    for path in (tmp_path / "to").glob("*.so"):
        assert path.read_text() == path.stem


def test_the_extra_that_compiles_them_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "FOLDER", tmp_path / "own")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        vsearch.MissingDependencyError, match=r"aarch64-dotprod, and .*ziglang.*pip install 'vsearch\[deploy\]'"
    ):
        packages._copy_kernels(tmp_path / "to", "arm64", None)


def test_the_extra_of_the_local_faas_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(vsearch.MissingDependencyError, match=r"pip install 'vsearch\[faas\]'"):
        runtime_folder(tmp_path / "runtime")


def test_a_package_over_the_limit_is_refused(tmp_path, monkeypatch, kernels):
    monkeypatch.setattr(packages, "LARGEST_UNZIPPED", 1000)
    with pytest.raises(vsearch.InputError, match="unzipped"):
        build_package(tmp_path / "p.zip", kernels=kernels)
    assert not (tmp_path / "p.zip").exists()


def test_the_build_script_makes_the_same_package_of_the_same_content(tmp_path, kernels, package):
    path = tmp_path / "made.zip"
    command = [sys.executable, "-m", "functions.build", str(path), "--kernels", str(kernels)]
    command += ["--arch", {"aarch64": "arm64"}.get(platform.machine(), "x86_64"), "--python", HERE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert package.sha256 in done.stdout
    assert path.stat().st_size == package.zipped
