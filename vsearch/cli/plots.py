"""The command that draws an index, and the files of pictures."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import vsearch
from vsearch.api.plotting import figure_class
from vsearch.cli import inputs, options
from vsearch.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


class Picture(StrEnum):
    """The pictures that can be drawn."""

    RECALL = "recall"
    SELECTIVITY = "selectivity"
    PARTITIONS = "partitions"


def plot(
    url: options.Url,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The picture to write: .png, .svg or .pdf.")],
    what: Annotated[
        Picture,
        typer.Option(help="recall against cost, cost by selectivity of filters, or a map of the partitions."),
    ] = Picture.RECALL,
    k: options.K = 10,
    queries: options.QueryFile = None,
    where: options.Where = None,
    snapshot: options.Snapshot = None,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Draw recall against cost, or the partitions of an index; needs matplotlib."""
    check_file(file)
    if where is not None and what is not Picture.RECALL:
        raise InputError(f"--where requires --what recall, got --what {what.value}")
    vectors = None if queries is None else inputs.read_queries(queries)
    index = opened(vsearch.open(url, snapshot, **options.storage(endpoint, anonymous)))
    drawings: dict[Picture, Callable[[], Figure]] = {
        Picture.RECALL: lambda: index.plot_recall(vectors, k, options.condition(where)),
        Picture.SELECTIVITY: lambda: index.plot_selectivity(vectors, k),
        Picture.PARTITIONS: index.plot_partitions,
    }
    save(file, drawings[what])


def opened(index: Any) -> vsearch.Index:
    """Return an index that is open in this process.

    Raises
    ------
    InputError
        It is behind functions, which do not measure.
    """
    if not isinstance(index, vsearch.Index):
        raise InputError("plots are not available through functions: pass the index's own URL")
    return index


def check_file(file: str) -> None:
    """Refuse, before anything is measured, a file that cannot be written."""
    if Path(file).suffix.lower() not in FORMATS:
        raise InputError(f"FILE must end in {', '.join(FORMATS)}, got {file}")
    if not Path(file).parent.is_dir():
        raise InputError(f"{Path(file).parent}: no such folder")
    figure_class()


def save(file: str, draw: Callable[[], Figure]) -> None:
    """Draw and write a picture."""
    draw().savefig(file, dpi=150)
    typer.echo(f"wrote {file}", err=True)
