"""The cost of imports: heavy libraries are loaded only by the code paths that need them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vsearch

HEAVY = ("pyarrow", "faiss", "sklearn", "numba", "sqlglot", "boto3", "pandas", "polars", "h5py", "scipy")
WORKER_MODULES = (
    "vsearch.errors",
    "vsearch.storage",
    "vsearch.predicates",
    "vsearch.search",
    "vsearch.quantizers",
    "vsearch.fanout.platforms.hosting",
)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import vsearch", "from vsearch import InputError", "import vsearch.datasets"])
def test_client_import_is_light(statement: str) -> None:
    assert loaded_by(statement) == set()


@pytest.mark.slow
@pytest.mark.parametrize("module", WORKER_MODULES)
def test_worker_modules_load_nothing_that_only_a_build_needs(module: str) -> None:
    assert loaded_by(f"import {module}") <= {"numba", "scipy"}


def test_command_line_help_is_light() -> None:
    assert loaded_by("import vsearch.cli") == set()


def test_encoding_loads_nothing_that_only_compression_or_other_vocabularies_need() -> None:
    names = ("float_model", "folders", "quantizing", "writing", "bpe", "bpe_files", "unigram", "unigram_files")
    code = (
        "import sys, vsearch\n"
        "vsearch.encoders.load(vsearch.datasets.load('wordnet-10k').encoder).encode('a bird')\n"
        f"print(*[name for name in {names!r} if 'vsearch.encoders.' + name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_an_index_is_searched_and_changed_without_faiss_and_numba(tmp_path: Path, kernels: Path) -> None:
    rng = np.random.default_rng(0)
    vsearch.build(
        rng.standard_normal((3000, 16), np.float32), tmp_path / "i", {"n": np.arange(3000) % 5}, rerank="int8"
    )
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("faiss", "numba", "llvmlite")))  # as if they were not installed
import numpy as np
import vsearch
index = vsearch.open({str(tmp_path / "i")!r})
query = np.eye(1, 16, dtype=np.float32)
assert (index.search(query, where="n = 3", columns=["n"]).ids >= 0).all()
assert index.search(np.repeat(query, 3, axis=0), exact=True).ids.shape == (3, 10)
index.append(query, {{"n": [7]}})
index.delete([5])
assert index.search(query, k=1, where="n = 7").ids[0, 0] == 3000
index.optimize()
index.tune(sample=20)
try:
    vsearch.build(np.ones((2000, 4), np.float32), {str(tmp_path / "other")!r})
except vsearch.MissingDependencyError as error:
    print(error)
"""
    environment = {**os.environ, "VSEARCH_KERNELS": str(kernels)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "building and training an index need faiss: pip install faiss-cpu", done.stderr


@pytest.mark.slow
def test_the_first_text_in_a_process_loads_nothing_that_it_does_not_use(tmp_path: Path, kernels: Path) -> None:
    from tests.encoders.models import sentences, tensors, write_model

    source = write_model(tmp_path / "model", tensors())
    vsearch.encoders.compress(source, sentences(20, 5), bits=4).save(tmp_path / "encoder")
    code = f"""
import sys
import numpy
before = set(sys.modules)
import vsearch
vsearch.encoders.load({str(tmp_path / "encoder")!r}).encode("the fast")
print(*sorted(set(sys.modules) - before))
"""
    environment = {**os.environ, "VSEARCH_KERNELS": str(kernels)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    loaded = set(done.stdout.split())
    assert "vsearch.encoders.reading" in loaded
    assert not loaded & {*HEAVY, "pathlib", "urllib.parse", "hashlib", "numpy.typing", "vsearch.encoders.float_model"}
