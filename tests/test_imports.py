"""The cost of imports: heavy libraries are loaded only by the code paths that need them."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
