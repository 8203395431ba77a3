"""Output: Markdown sections that replace their predecessors, and PNG plots."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench.data import Data

HEAD = "# Results\n\nWritten by `python -m bench.*`; see README.md for what the columns mean.\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines) + "\n"


def cell(value: object) -> str:
    """Format numbers to three or four significant digits, None as a dash."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def share(value: float) -> str:
    """Format a recall with four decimals."""
    return f"{value:.4f}"


def section(bench: str, data: Data, text: Iterable[str], parameters: Mapping[str, object]) -> str:
    """Title, environment, parameters, then the text."""
    facts = [
        f"- data: {data.name}, {data.rows:,} x {data.dimensions}, {data.metric}, {len(data.queries):,} queries",
        f"- machine: {machine()}",
        *(f"- {name}: {value}" for name, value in parameters.items()),
        f"- date: {today()}",
    ]
    return "\n\n".join([f"## {bench}: {data.name}", "\n".join(facts), *text])


def today() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"


def machine() -> str:
    """Processor, cores, memory, system."""
    model = platform.processor() or platform.machine()
    flags = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text()
        if match := re.search(r"model name\s*: (.*)", text):
            model = match[1]
        if match := re.search(r"^flags\s*: (.*)", text, re.MULTILINE):
            present = set(match[1].split())
            flags = " ".join(f for f in ("avx2", "avx512bw", "avx512_vnni", "avx512vbmi") if f in present)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {gigabytes:.0f} GiB, {flags}, Python {platform.python_version()}"


def versions(packages: Iterable[str]) -> str:
    """Names and installed versions of distributions."""
    known = []
    for package in packages:
        try:
            known.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            known.append(f"{package} (not installed)")
    return ", ".join(known)


def absences(reasons: Mapping[str, str]) -> str:
    """List contestants that could not take part, with reasons."""
    if not reasons:
        return "Nobody was absent."
    return "Absent:\n\n" + "\n".join(f"- {name}: {reason}" for name, reason in reasons.items())


def replace(path: Path, key: str, text: str) -> None:
    """Write a section to a file, replacing the one with the same key, or else at the end."""
    opening, closing = f"<!-- {key} -->", f"<!-- end of {key} -->"
    block = f"{opening}\n{text.strip()}\n{closing}\n"
    old = path.read_text() if path.exists() else HEAD
    pattern = re.compile(re.escape(opening) + r".*?" + re.escape(closing) + r"\n", re.DOTALL)
    new, replaced = pattern.subn(lambda _: block, old, count=1)
    if not replaced:
        new = old.rstrip() + "\n\n" + block
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(new)


def rows(path: Path, key: str) -> list[list[str]]:
    """Cells of the first table of a section, without its header; empty if there is no such section."""
    text = path.read_text() if path.exists() else ""
    _, _, section = text.partition(f"<!-- {key} -->")
    lines = section.partition(f"<!-- end of {key} -->")[0].splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("| ---")), len(lines))
    table_lines = itertools.takewhile(lambda line: line.startswith("| "), lines[first + 1 :])
    return [[one.strip().replace("\\|", "|") for one in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table_lines]


@dataclass(frozen=True)
class Curve:
    """Points of one contestant; ``ours`` are drawn bold and black, each in another style of line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    ours: bool = False


def plot(
    path: Path,
    curves: Iterable[Curve],
    *,
    title: str,
    x: str,
    y: str,
    log: str = "",
    x_limits: tuple[float, float] | None = None,
) -> None:
    """Draw curves into a PNG file; ``log`` names the logarithmic axes, as "y" or "xy"."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 6.5), constrained_layout=True)
    styles = [f"C{i}" for i in range(10)]
    curves = list(curves)
    own = iter(("-", "-.", ":") * len(curves))
    for i, curve in enumerate(curves):
        axes.plot(
            curve.x,
            curve.y,
            marker="os^vD"[i // 10 % 5],
            markersize=4,
            linestyle=next(own) if curve.ours else "--",
            linewidth=2.4 if curve.ours else 1.1,
            color="black" if curve.ours else styles[i % 10],
            label=curve.name,
            zorder=3 if curve.ours else 2,
        )
    axes.set(title=title, xlabel=x, ylabel=y)
    if "x" in log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="minor", labelsize=6, labelrotation=60)
    if "y" in log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter("{x:,g}")
    if x_limits is not None:
        axes.set_xlim(*x_limits)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize=7, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
