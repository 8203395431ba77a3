"""Every code block of the README and the documentation runs unmodified: the blocks of a page in order, in an empty folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, RUNNING
from vsearch.kernels.toolchain.library import targets_here

#: What a notebook does: run, and tell what is printed or the value of the last line. Shells run in between.
RUN = """
import ast, contextlib, io, json, pprint, subprocess, sys
names, outputs = {}, []
for language, text in json.load(sys.stdin):
    if language == "sh":
        done = subprocess.run(["sh", "-c", "set -e\\n" + text], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{text}\\n{done.stdout}\\n{done.stderr}")
        outputs.append(done.stdout)
        continue
    body = ast.parse(text).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(body, []), text, "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), text, "eval"), names)
    shown = "" if value is None else pprint.pformat(value, width=120)
    outputs.append(printed.getvalue() + shown)
json.dump(outputs, sys.stdout)
"""


@pytest.fixture(scope="session")
def environment(compiled) -> dict[str, str]:
    """A user's: no VSEARCH, nothing of AWS, and kernels that were compiled before, as an install leaves them.

    All other tests compile just in time.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VSEARCH", "AWS", "PYTHONPATH"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if fitting := targets_here():
        kept["VSEARCH_KERNELS"] = str(compiled(fitting[0]))
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT)}


def apart(text: str) -> tuple[str, list[float]]:
    """A text without its fractions, and these."""
    fraction = re.compile(r"\d+\.\d+")
    return " ".join(fraction.sub("x", text).split()), [float(number) for number in fraction.findall(text)]


@pytest.mark.parametrize("page", RUNNING)
def test_blocks_of_a_page_run_one_after_the_other(page, tmp_path, environment):
    blocks = RUNNING[page]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN],
        cwd=tmp_path,
        env=environment,
        input=json.dumps([(block.language, block.text) for block in blocks]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for block, output in zip(blocks, json.loads(done.stdout), strict=True):
        if block.output is not None:
            (words, numbers), (shown, expected) = apart(output), apart(block.output)
            assert words == shown
            assert numbers == pytest.approx(expected, abs=0.005)  # how many threads build decides some digits


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="the site needs the dependency group docs",
)
def test_the_site_builds_without_a_warning(tmp_path, environment):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
