"""The application as a whole: help, version, mistakes, the module and the demo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vsearch
from vsearch.cli.demo import QUESTIONS, SAMPLE, TYPED

COMMANDS = "build search info verify recall tune explain get snapshots prune datasets".split()  # noqa: SIM905
COMMANDS += "append upsert update delete optimize tag restore".split()  # noqa: SIM905


def test_help_lists_every_command(run) -> None:
    text = run("--help").text
    assert all(re.search(rf"\b{command}\b", text) for command in [*COMMANDS, "demo"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_prints_json(run, command: str) -> None:
    done = run(command, "--help")
    assert done.status == 0
    assert "--json" in done.text


@pytest.mark.parametrize("command", ["search", "explain", "recall"])
def test_options_have_the_same_names(run, command: str) -> None:
    text = run(command, "--help").text
    assert all(option in text for option in ("--where", "--k", "--snapshot", "--nprobe", "--endpoint", "--anonymous"))


def test_version(run) -> None:
    assert run("--version").text == f"vsearch {vsearch.__version__}\n"


def test_no_arguments_print_the_help(run) -> None:
    done = run()
    assert "search" in done.text + done.errors


def test_a_missing_argument_is_a_mistake(run) -> None:
    done = run("search")
    assert done.status == 2
    assert done.errors.startswith("error: ")


def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vsearch.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("vsearch ")


def test_mistakes_of_the_process_show_no_traceback() -> None:
    command = [sys.executable, "-m", "vsearch.cli", "info", "no-such-index"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def _mistake(*command: str, **environment: str) -> str:
    aws = ("AWS_", "VSEARCH_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(aws)} | environment
    done = subprocess.run(
        [sys.executable, "-m", "vsearch.cli", *command],
        capture_output=True,
        text=True,
        check=False,
        env=kept,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_folder_that_cannot_be_made_is_a_mistake(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in _mistake("datasets", "wordnet-10k", "--save", str(tmp_path / "file"))
    assert "file" in _mistake("datasets", "wordnet-10k", "--save", str(tmp_path / "file" / "below"))


@pytest.mark.parametrize("command", [("rollback", "words"), ("undeploy", "words")])
def test_no_region_is_a_mistake(command: tuple[str, ...], tmp_path) -> None:
    nothing = str(tmp_path / "none")
    assert "region" in _mistake(*command, AWS_CONFIG_FILE=nothing, AWS_SHARED_CREDENTIALS_FILE=nothing)


def test_demo_asks_queries_of_the_sample() -> None:
    texts = vsearch.datasets.load(SAMPLE).query_texts
    assert all(question.text in texts for question in QUESTIONS)
    assert not any(question.text in texts for question in TYPED)


def test_demo(run, tmp_path) -> None:
    report = run("demo", "--json").json
    assert len(report["searches"]) == len(QUESTIONS) + len(TYPED)
    for search in report["searches"]:
        assert len(search["hits"]) == 5
        assert search["recall"] > 0.8
    typed = ("demo", "--text", "a large bird of prey", "--where", "pos = 'noun'")
    shown = run(*typed, "--folder", tmp_path / "kept", "--k", 2)
    assert shown.status == 0, shown.errors
    assert QUESTIONS[0].text not in shown.text
    assert re.search("eagle|hawk|vulture|owl|falcon|raptor|bird", shown.text.split("query", 1)[1])
    found = run("search", tmp_path / "kept", "--text", "a large bird of prey", "--k", 2, "--json")
    assert found.status == 0, found.errors
    assert run("demo", "--where", "pos = 'noun'").status != 0


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that holds no new folders")
def test_a_build_where_no_folder_can_be_is_refused() -> None:
    with pytest.raises(vsearch.StoreError, match="/proc/no-index"):
        vsearch.build(np.eye(4, 8, dtype=np.float32), "/proc/no-index")
