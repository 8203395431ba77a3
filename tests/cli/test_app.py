"""The application as a whole: help, version, mistakes, the module and the demo."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import vsearch
from vsearch.cli.demo import QUESTIONS, SAMPLE

COMMANDS = "build search info verify recall tune explain get snapshots prune datasets".split()  # noqa: SIM905


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


def test_demo_asks_queries_of_the_sample() -> None:
    texts = vsearch.datasets.load(SAMPLE).query_texts
    assert all(question.text in texts for question in QUESTIONS)


def test_demo(run, tmp_path) -> None:
    report = run("demo", "--json").json
    assert len(report["searches"]) == len(QUESTIONS)
    for search in report["searches"]:
        assert len(search["hits"]) == 5
        assert search["recall"] > 0.8
    shown = run("demo", "--folder", tmp_path / "kept", "--k", 2)
    assert shown.status == 0, shown.errors
    assert QUESTIONS[0].text in shown.text
    assert run("info", tmp_path / "kept").status == 0
