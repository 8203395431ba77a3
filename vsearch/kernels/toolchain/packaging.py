"""The build hook of the wheel: compile the kernels for this machine or, for a release, for all targets.

``VSEARCH_BUILD_TARGETS`` selects the targets: ``all``, or a comma-separated list of
``vsearch.kernels.toolchain.ahead_of_time.TARGETS``. By default the kernels are compiled for this machine; if that
fails, the install succeeds without them, and they are compiled on first use. ``VSEARCH_NO_KERNELS=1`` skips them.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILERS = ["numba>=0.68", "numpy>=2.0", "ziglang>=0.13"]
MACHINES = ("x86_64", "aarch64")

#: Prints the targets that a folder has for these sources, the target of this machine, and all targets.
ASK = """
import json, sys
from pathlib import Path
from vsearch.kernels.toolchain.library import TARGETS, functions_in, targets_here
folder = Path(sys.argv[1])
known = [name for group in TARGETS.values() for name in group]
there = [name for name in known if functions_in(folder) and (folder / f"{name}.so").exists()]
print(json.dumps([there, targets_here()[:1], known]))
"""


def cache_places(scratch: str) -> dict[str, str]:
    """Return variables with a place for the linker's cache if there is no home: without one it refuses to run."""
    home, chosen = os.environ.get("HOME", ""), os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    if chosen or (home and os.access(home, os.W_OK)):
        return {}
    return {"ZIG_GLOBAL_CACHE_DIR": str(Path(scratch) / "zig")}


class KernelsHook(BuildHookInterface[Any]):
    """Adds ``vsearch/kernels/compiled`` to the wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the packages that compile kernels, or none if no kernels will be compiled."""
        return COMPILERS if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile missing targets; an editable install compiles on first use instead."""
        if version == "editable" or not self._wanted():
            return
        folder = Path(self.root) / "vsearch" / "kernels" / "compiled"
        try:
            self._compile(folder)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            if self._asked():
                raise
            shutil.rmtree(folder, ignore_errors=True)
            self.app.display_warning(f"the kernels were not compiled; they will be compiled on first use: {error}")
            return
        build_data["artifacts"] += ["/vsearch/kernels/compiled/*.so", "/vsearch/kernels/compiled/index.json"]

    def _compile(self, folder: Path) -> None:
        # pip provides the build dependencies through PYTHONPATH
        path = os.pathsep.join(filter(None, [str(self.root), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        answer = subprocess.run(
            [sys.executable, "-c", ASK, str(folder)],
            cwd=self.root,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        present, here, known = json.loads(answer.stdout)
        requested = self._asked()
        targets = known if requested == "all" else requested.split(",") if requested else here
        missing = [target for target in targets if target not in present]
        if missing:
            command = [sys.executable, "-m", "vsearch.kernels.toolchain.ahead_of_time", "--out", str(folder)]
            command += [part for target in missing for part in ("--target", target)]
            with tempfile.TemporaryDirectory() as scratch:
                subprocess.run(command, cwd=self.root, env=environment | cache_places(scratch), check=True)

    def _asked(self) -> str:
        return os.environ.get("VSEARCH_BUILD_TARGETS", "").replace(" ", "")

    def _wanted(self) -> bool:
        if os.environ.get("VSEARCH_NO_KERNELS"):
            return False
        return bool(self._asked()) or (platform.system() == "Linux" and platform.machine() in MACHINES)
