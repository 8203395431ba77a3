"""A function's package contains the modules that its handlers import, and no other modules of vsearch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vsearch.deploy.contents import list_sources

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def carried():
    return {path.as_posix() for path in list_sources(ROOT)}


def test_handlers_and_what_they_answer_with_are_there(carried):
    for path in (
        "functions/processor.py",
        "functions/http.py",
        "vsearch/fanout/roles/allocator.py",
        "vsearch/quantizers/pq.py",
        "vsearch/quantizers/osq_lloyd.py",
        "vsearch/multivector/maxsim.py",
        "vsearch/storage/stores/s3.py",
        "vsearch/storage/stores/folder.py",
        "vsearch/storage/stores/gcs.py",
        "vsearch/predicates/sql.py",
        "vsearch/search/state/__init__.py",
    ):
        assert path in carried


def test_what_only_clients_and_builds_need_is_not(carried):
    parts = {path.split("/")[1] for path in carried if path.startswith("vsearch/")}
    assert not parts & {"api", "building", "cli", "datasets", "deploy", "faas", "jpq", "testing"}
    for path in (
        "functions/build.py",
        "vsearch/kernels/toolchain/ahead_of_time.py",
        "vsearch/multivector/build.py",
        "vsearch/search/tuning.py",
        "vsearch/storage/snapshots/committing.py",
    ):
        assert path not in carried


def test_records_of_platforms_are_there_and_what_they_only_name_is_not(carried):
    """Deployers and what finds the local FaaS stand above; nobody in a package calls functions of its own process."""
    there = {path.rsplit("/", 1)[1] for path in carried if path.startswith("vsearch/fanout/platforms/")}
    records = {"__init__.py", "platform.py", "registry.py", "aws_lambda.py", "plain_http.py"}
    assert there == records | {
        "connections.py",
        "hosting.py",
        "http_api.py",
        "http_rows.py",
        "http_searches.py",
        "network.py",
        "signing.py",
    }


def test_names_that_packages_hand_out_are_followed(tmp_path):
    def write(path, text=""):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write("functions/handler.py", "from vsearch.storage import open_store\nimport numpy\n")
    write("functions/build.py", "import vsearch.api\n")
    write("vsearch/__init__.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vsearch.api import x\n")
    write("vsearch/api.py")
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
    lazy += "    from vsearch.storage.opening import open_store\n    from vsearch.storage.other import more\n"
    write("vsearch/storage/__init__.py", lazy)
    write("vsearch/storage/opening.py", "def open_store():\n    from vsearch.deep import inner\n")
    write("vsearch/storage/other.py")
    write("vsearch/deep/__init__.py")
    write(
        "vsearch/deep/inner.py",
        "KINDS = ('vsearch.named.late:open', 'vsearch.never', 'see vsearch.never:x', 'json:loads')",
    )
    write("vsearch/named/__init__.py")
    write("vsearch/named/late.py")
    write("vsearch/never.py")
    assert [path.as_posix() for path in list_sources(tmp_path)] == [
        "functions/handler.py",
        "vsearch/__init__.py",
        "vsearch/deep/__init__.py",
        "vsearch/deep/inner.py",
        "vsearch/named/__init__.py",
        "vsearch/named/late.py",
        "vsearch/storage/__init__.py",
        "vsearch/storage/opening.py",
    ]


@pytest.mark.slow
def test_every_module_that_is_carried_can_be_imported_there(carried, tmp_path):
    """In a folder that holds nothing else of ours; framework.py needs a library of its own platform."""
    for path in carried:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    names = sorted(
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in carried
        if path.startswith("vsearch/")
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom importlib import import_module\n"
    code += (
        f"for name in {names!r}:\n    import_module(name)\nimport vsearch\nassert {str(tmp_path)!r} in vsearch.__file__"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
