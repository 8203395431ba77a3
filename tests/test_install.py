"""Installing by plain pip, as users do: from a git repository and from what is released, and a search with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from vsearch.kernels.toolchain.library import targets_here

ROOT = Path(__file__).parents[1]

FIRST = """
import vsearch
from vsearch.kernels.toolchain.compiling import LIBRARY
sample = vsearch.datasets.load("wordnet-10k")
index = vsearch.build(sample.vectors[:2000], "first-index", attributes=sample.attributes[:2000])
hits = index.search(sample.queries[:3], k=3, where="gloss_len < 80", columns=["text"])
assert (hits.ids >= 0).all()
print(vsearch.__file__, LIBRARY and LIBRARY.target)
"""


def environment(**more: str) -> dict[str, str]:
    """A user's, without this project and its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VSEARCH", "PYTHONPATH", "GIT"))}
    return {**kept, **more}


def copy_project(folder: Path) -> Path:
    for name in ("vsearch", "functions", "index"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "compiled"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a fresh environment, which finds what vsearch needs, pip too, where it is installed already."""
    folder = tmp_path / "environment"
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def index_is_reachable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Builds are isolated for real, so what they need has to come from somewhere."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "hatchling>=1.27"]
    folder = tmp_path_factory.mktemp("reach")
    done = subprocess.run([*command, "-d", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no package index is reachable")


def install(python: Path, *what: str, **variables: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *what]
    done = subprocess.run(
        command, cwd=python.parents[2], env=environment(**variables), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def use(python: Path, folder: Path) -> tuple[str, str]:
    """Build and search with what is installed; where it lies, and which kernels it has."""
    command = [str(python), "-W", "error", "-c", FIRST]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, target = done.stdout.split()
    assert Path(where).is_relative_to(python.parents[1])
    return where, target


@pytest.mark.slow
@pytest.mark.usefixtures("index_is_reachable")
def test_pip_installs_it_from_git_and_it_searches(tmp_path, python, kernels):
    """As it is from a folder, which pip clones first; the build is isolated.

    Compiled kernels are there already, so that it only looks at them: test_worker.py compiles.
    """
    sources = copy_project(tmp_path / "sources")
    compiled = sources / "vsearch" / "kernels" / "compiled"
    shutil.copytree(kernels, compiled, ignore=shutil.ignore_patterns("*.o"))
    for command in (["init", "-q"], ["add", "-f", "."], ["commit", "-q", "-m", "all"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run(["git", *identity, *command], cwd=sources, env=environment(), check=True, capture_output=True)
    install(python, f"git+file://{sources}")
    assert use(python, tmp_path)[1] == targets_here()[0]
    version = subprocess.run(
        [python.with_name("vsearch"), "--version"], env=environment(), capture_output=True, check=True
    )
    assert version.stdout.startswith(b"vsearch ")


@pytest.mark.slow
def test_a_source_distribution_installs_too(tmp_path, python):
    """Without kernels, and by the build tools that are here."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    install(python, "--no-build-isolation", str(archive), VSEARCH_NO_KERNELS="1")
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    assert (packages / "vsearch" / "recipes" / "balanced.toml").exists()
    assert not (packages / "vsearch" / "kernels" / "compiled").exists()
    script = "import vsearch; print(vsearch.__file__, len(vsearch.datasets.load('wordnet-10k').vectors))"
    done = subprocess.run(
        [python, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1] == "10000"
