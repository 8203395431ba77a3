"""The build hook of the wheel: compile the kernels for every kind of processor, so that a user compiles nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface[Any]):
    """Puts ``vsearch/kernels/compiled`` into the wheel; ``VSEARCH_NO_KERNELS=1`` leaves it out."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile unless the libraries that are there are of these sources; an editable install compiles as it runs."""
        if version == "editable" or os.environ.get("VSEARCH_NO_KERNELS"):
            return
        root = Path(self.root)
        folder = root / "vsearch" / "kernels" / "compiled"
        code = "from vsearch.kernels.library import sources_digest; print(sources_digest())"
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env=environment, check=True, capture_output=True, text=True
        )
        index = folder / "index.json"
        if not index.exists() or json.loads(index.read_bytes())["sources"] != done.stdout.strip():
            command = [sys.executable, "-m", "vsearch.kernels.build", "--out", str(folder)]
            subprocess.run(command, cwd=root, env=environment, check=True)
        build_data["artifacts"].append("/vsearch/kernels/compiled/*")
