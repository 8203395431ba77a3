"""Native code never reads or writes outside its arrays: next to each is a guard page that ends the process if touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("guarded_search.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_beside_the_arrays_is_touched(tmp_path):
    command = [sys.executable, "-X", "faulthandler", SCRIPT, tmp_path]
    root = str(SCRIPT.parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(command, check=False, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same True"
