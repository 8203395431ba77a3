"""Pages of the README and the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "functions" / "README.md",
        ROOT / "index" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
BLOCK = re.compile(
    r"(?:<!-- not run by the tests: ([^>]+) -->\n)?^```(python|sh)\n(.*?)^```\n(?:\n```\n(.*?)```\n)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    excuse: str
    output: str | None


BLOCKS = {
    page: [Block(language, code, excuse, output or None) for excuse, language, code, output in BLOCK.findall(text)]
    for page, text in PAGES.items()
}
RUNNING = {page: running for page, blocks in BLOCKS.items() if (running := [b for b in blocks if not b.excuse])}
EXCUSED = [(page, block) for page, blocks in BLOCKS.items() for block in blocks if block.excuse]
