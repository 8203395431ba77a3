"""The documentation is consistent: blocks that cannot run are well formed; extras, public names and layers are complete."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from tests.pages import BLOCKS, EXCUSED, PAGES, ROOT, RUNNING
from vsearch.cli.app import app

#: What else may stand in a block that does not run here; options of vsearch's own commands are checked.
FOREIGN = ("aws", "curl", "docker", "functions-framework", "git", "make", "pip", "python", "terraform")


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block, without variables before and redirections behind them."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        words = words[: words.index(">")] if ">" in words else words
        if words:
            found.append(words)
    return found


def test_nearly_all_blocks_run():
    running = [block for blocks in RUNNING.values() for block in blocks]
    assert len(running) > 2 * len(EXCUSED)
    assert {block.language for block in running} == {"python", "sh"}


def test_every_block_is_found():
    for page, text in PAGES.items():
        assert len(re.findall(r"^\s*```(?:python|sh)\b", text, re.MULTILINE)) == len(BLOCKS[page]), page
        assert text.count("not run by the tests:") == sum(bool(block.excuse) for block in BLOCKS[page]), page


@pytest.mark.parametrize(
    ("page", "block"), EXCUSED, ids=[f"{page} {number}" for number, (page, _) in enumerate(EXCUSED)]
)
def test_blocks_that_do_not_run_here_are_at_least_well_formed(page, block):
    if block.language == "python":
        compile(block.text, page, "exec")
        return
    for name, *arguments in commands(block.text):
        if name != "vsearch":
            assert name in FOREIGN, name
            continue
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context(command.name, arguments)  # options and arguments are those that it takes


def test_every_extra_is_named():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in extras:
        assert f"| `{name}` |" in PAGES["docs/install.md"], name


def test_every_public_name_has_its_place_in_the_reference():
    import vsearch
    from vsearch import datasets, jpq, predicates

    text = "\n".join(text for page, text in PAGES.items() if page.startswith("docs/reference/"))
    for module in (vsearch, predicates, jpq, datasets):
        for name in module.__all__:
            shown = f"::: {module.__name__}.{name}\n" in text or f"`{module.__name__}.{name}`" in text
            assert shown or f"`{name}` is" in text or f"`{name}` " in text, f"{module.__name__}.{name}"


def test_the_floors_of_the_architecture_page_are_those_of_the_code():
    from tests.test_layers import FLOORS

    known = set(re.findall(r"`([a-z_.]+)`", PAGES["docs/architecture.md"].partition("## The path")[0]))
    short = {f".{name.rpartition('.')[2]}" for name in FLOORS.split() if name.startswith("fanout.")}
    for name in FLOORS.split():
        assert name in known or f".{name.rpartition('.')[2]}" in known & short, name


def test_the_overview_for_language_models_lists_every_guide():
    text = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert [page for page in linked if f"docs/{page}" not in PAGES] == []
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith(("docs/guides/", "docs/reference/"))}
    assert pages <= set(linked)
    assert text.startswith("# vsearch\n\n> ")


def test_the_readme_fits_on_a_page():
    assert len(PAGES["README.md"].splitlines()) <= 150
