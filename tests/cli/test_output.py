from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import pty
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from vsearch.cli import output


class Entry(msgspec.Struct, frozen=True):
    path: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Report:
    entries: tuple[Entry, ...]
    score: float


def test_plain_is_json() -> None:
    report = Report((Entry("a", 1),), float("nan"))
    values = {
        "report": report,
        "array": np.array([[1.5, np.inf]], np.float32),
        "number": np.int64(3),
        "day": dt.date(2024, 2, 29),
        7: {1},
    }
    assert json.loads(json.dumps(output.plain(values))) == {
        "report": {"entries": [{"path": "a", "bytes": 1}], "score": None},
        "array": [[1.5, None]],
        "number": 3,
        "day": "2024-02-29",
        "7": [1],
    }


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("bytes_read", 1_234_567, "1.2 MB"),
        ("bytes_read", 12, "12 B"),
        ("rows", 1_234_567, "1,234,567"),
        ("snapshot", 1234, "1234"),
        ("score", 0.123456, "0.1235"),
        ("seconds", 12345.67, "12,345.7"),
        ("where", None, "-"),
        ("damaged", False, "no"),
        ("lemmas", ["a", "b"], "a, b"),
    ],
)
def test_readable(name: str, value: object, shown: str) -> None:
    assert output.readable(name, value) == shown


def test_facts_show_nested_values(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts({"rows": 5, "bytes_per_vector": {"codes": 48, "ids": 8}, "files": [{"path": "x"}]}, "an index")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["an", "index"],
        ["rows", "5"],
        ["bytes_per_vector"],
        ["codes", "48"],
        ["ids", "8"],
        ["files"],
        ["path", "x"],
    ]


def test_texts_are_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([{"text": "[red]not a colour[/red]", "price": 3}])
    assert "[red]not a colour[/red]" in capsys.readouterr().out


def test_no_rows_print_nothing_harmful(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([])
    assert capsys.readouterr().out.strip() == ""


def test_no_progress_without_a_terminal() -> None:
    with output.progress() as report:
        assert report is None


def test_progress_on_a_terminal() -> None:
    code = "from vsearch.cli.output import progress\nwith progress() as report:\n    report('encode', 5, 10); report('encode', 10, 10)"
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.DEVNULL, env=environment, check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"encode" in shown
    assert b"10/10" in shown
