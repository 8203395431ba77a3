"""Every script in examples/ runs unmodified, and prints what it claims."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))

#: What each of them prints, among other things.
SHOWN = {
    "filtered_search.py": ["Klopstock", "tuned: recall@10", "under the filter: recall@10"],
    "functions_in_process.py": ["cold: $0.0", "warm: $0.0", "processor: 4 invocations"],
    "many_vectors.py": ["2000 documents", "forced feeding", "nutrients: nutrient, through: through, tubes: tube"],
}


def test_all_are_known():
    assert {path.name for path in SCRIPTS} == set(SHOWN)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_each_is_short_and_says_what_it_shows(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f"python examples/{path.name}" in (ast.get_docstring(ast.parse(text)) or "")


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_each_runs(path, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in SHOWN[path.name]:
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
