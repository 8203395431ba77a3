"""Pages and plots of the site that are stored elsewhere in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "format.md": "index/FORMAT.md",
    "functions.md": "functions/README.md",
    "openapi.json": "functions/openapi.json",
    "template.yaml": "functions/template.yaml",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that do not lie under docs/."""
    from mkdocs.structure.files import File

    plots = {f"plots/{path.name}": f"bench/plots/{path.name}" for path in (ROOT / "bench" / "plots").glob("*.png")}
    for place, source in (ELSEWHERE | plots).items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files
