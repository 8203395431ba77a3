"""Every block of README.md runs as it stands, one after the other, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from vsearch.cli.app import app

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(<!-- not run by the tests: [^>]+ -->\n)?```(python|sh)\n(.*?)```\n(?:\n```\n(.*?)```\n)?", re.DOTALL
)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    runs: bool
    output: str | None


BLOCKS = [
    Block(language, text, not mark, output or None)
    for mark, language, text, output in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
]

#: What a notebook does: run, and show the value of the last line.
RUN = """
import ast, pprint, sys
names = {}
for text in sys.stdin.read().split("\\0"):
    body = ast.parse(text).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "README.md", "exec"), names)
    if last is not None:
        print(pprint.pformat(eval(compile(ast.Expression(last.value), "README.md", "eval"), names), width=120))
    print("\\0", end="")
"""


def environment(home: Path) -> dict[str, str]:
    """A user's: no VSEARCH, nothing of AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VSEARCH", "AWS", "PYTHONPATH"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT)}


def commands(text: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def test_most_blocks_run():
    assert sum(block.runs for block in BLOCKS) >= 6
    assert {block.language for block in BLOCKS if block.runs} == {"python", "sh"}


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other(tmp_path):
    blocks = [block for block in BLOCKS if block.language == "python" and block.runs]
    given = "\0".join(block.text for block in blocks)
    command = [sys.executable, "-W", "error", "-c", RUN]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outputs = done.stdout.split("\0")
    for block, output in zip(blocks, outputs, strict=False):
        if block.output is not None:
            (words, numbers), (shown, expected) = apart(output), apart(block.output)
            assert words == shown
            assert numbers == pytest.approx(expected, abs=0.005)  # how many threads build decides some digits


def apart(text: str) -> tuple[str, list[float]]:
    """A text without its fractions, and these."""
    fraction = re.compile(r"\d+\.\d+")
    return " ".join(fraction.sub("x", text).split()), [float(number) for number in fraction.findall(text)]


@pytest.mark.slow
def test_commands_run_one_after_the_other(tmp_path):
    for block in BLOCKS:
        if block.language == "sh" and block.runs:
            script = f"set -e\n{block.text}"
            done = subprocess.run(
                ["sh", "-c", script],
                cwd=tmp_path,
                env=environment(tmp_path),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.runs], ids=lambda block: block.text[:20])
def test_blocks_that_do_not_run_here_are_at_least_well_formed(block):
    if block.language == "python":
        compile(block.text, "README.md", "exec")
        return
    for name, *arguments in commands(block.text):
        if name != "vsearch":
            assert name in ("make", "pip"), name
            continue
        group = typer.main.get_command(app)
        command = group.commands[arguments[0]]
        command.make_context(arguments[0], arguments[1:])  # options and arguments are those that it takes


def test_every_extra_is_named():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in extras:
        assert f"| `{name}` |" in text, name
