"""Building streams: memory does not grow with the documents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Mapped scratch files are page cache that the system takes back, so what counts is memory that no file is behind.
PROGRAM = """
import sys, threading, time
import numpy as np
import vsearch

documents, folder = int(sys.argv[1]), sys.argv[2]
peak = 0

def watch():
    global peak
    while True:
        for line in open("/proc/self/status"):
            if line.startswith("RssAnon"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.01)

def vectors():
    for number in range(documents):
        yield np.random.default_rng(number).standard_normal((60, 64)).astype(np.float32)

threading.Thread(target=watch, daemon=True).start()
vsearch.build_documents(vectors(), None, folder, codebook=16, dimensions=32, residual_bits=1)
print(peak)
"""


def peak(documents: int, folder: Path) -> int:
    command = [sys.executable, "-c", PROGRAM, str(documents), str(folder)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_bounded(tmp_path) -> None:
    # both have more documents than are sampled; the second has 123 MB of vectors more
    small, large = peak(5000, tmp_path / "small"), peak(13000, tmp_path / "large")
    assert large - small < 40 << 20
