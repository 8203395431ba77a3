"""Every test run includes short runs of the fuzzers; their driver counts the findings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from bench import soak
from bench.soak_changes import change_bytes, change_tree

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "tries"),
    [
        ("payload", 80),
        ("kill", 10),
        pytest.param("live", 5, marks=pytest.mark.slow),
        pytest.param("file", 120, marks=pytest.mark.slow),
        pytest.param("payload", 500, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_found(tmp_path, name, tries):
    report = soak.fuzz(name, 11 + tries, 0, tries, float("inf"), tmp_path)
    assert not report.findings
    assert report.tries == tries
    assert report.outcomes["right"] > tries / 50
    assert report.counts["histories"] == (tries if name == "live" else 0)
    assert report.outcomes["refused"] > tries / 10 or name not in ("file", "payload")


STAND_IN = """
import os, time
from bench.soak_findings import Finding, raw_error
class Fuzzer:
    def __init__(self, folder):
        self.number, self.tried = 0, ""
    def attempt(self, rng):
        self.tried = "something"
        what = rng.choice(["right", "refused", "wrong", "raw", "hang", "crash"])
        if what == "hang":
            time.sleep(60)
        if what == "crash":
            os._exit(3)
        if what == "wrong":
            raise Finding("wrong", "other rows")
        if what == "raw":
            try:
                {}["missing"]
            except BaseException as error:
                raise raw_error(error)
        return what
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A fuzzer with random outcomes."""
    (tmp_path / "soak_stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setitem(soak.FUZZERS, "file", "soak_stand_in")


def test_a_finding_of_every_kind_is_counted(stand_in, tmp_path):
    chosen = [
        Random(f"5 file {number}").choice(["right", "refused", "wrong", "raw", "hang", "crash"]) for number in range(9)
    ]
    report = soak.fuzz("file", 5, 0, 9, float("inf"), tmp_path, hang=0.5)
    assert report.tries == 9
    assert report.outcomes == {name: chosen.count(name) for name in chosen}
    assert [found["outcome"] for found in report.findings] == [name for name in chosen if name in soak.FINDINGS]


def test_a_fuzzer_that_does_not_start_is_a_finding(monkeypatch, tmp_path):
    monkeypatch.setitem(soak.FUZZERS, "file", "no_such_module")
    report = soak.fuzz("file", 5, 0, 9, float("inf"), tmp_path)
    assert report.outcomes == {"crash": 1}
    assert "ModuleNotFoundError" in report.findings[0]["text"]


@pytest.mark.slow
def test_the_command_line():
    command = [sys.executable, "-m", "bench.soak", "--only", "payload", "--tries", "3", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (report,) = json.loads(done.stdout)["fuzzers"]
    assert (report["name"], report["tries"]) == ("payload", 3)
    wrong = subprocess.run([*command[:3], "--only", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


@pytest.mark.parametrize("seed", range(20))
def test_changes_depend_on_the_seed_alone_and_leave_what_they_were_given(seed):
    data, tree = bytes(range(256)), {"a": [1, 2.5, {"b": "text", "c": b"bytes"}], "d": None, "e": True}
    before = json.dumps(tree, default=repr)
    one, two = (change_bytes(Random(seed), data, data[::-1]) for _ in range(2))
    assert one == two
    three, four = (repr(change_tree(Random(seed), tree)) for _ in range(2))
    assert three == four
    assert json.dumps(tree, default=repr) == before
