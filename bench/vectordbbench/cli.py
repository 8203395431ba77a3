"""The command ``vectordbbench vsearch``."""

from typing import Annotated, Any

import click
from vectordb_bench.backend.clients import DB
from vectordb_bench.cli.cli import CommonTypedDict, cli, click_parameter_decorators_from_typed_dict, run

from .config import VsearchConfig, VsearchIndexConfig


class VsearchTypedDict(CommonTypedDict):
    """Options of the command."""

    folder: Annotated[str, click.option("--folder", required=True, help="Folder of the index")]
    bits: Annotated[float, click.option("--bits", default=1.0, show_default=True, help="Bits per dimension")]
    rerank: Annotated[str, click.option("--rerank", default="int8", show_default=True, help="Codes for reranking")]
    spill: Annotated[bool, click.option("--spill", is_flag=True, help="A second copy of each code")]
    recall: Annotated[float, click.option("--recall", default=0.95, show_default=True, help="1 scores all rows")]


@cli.command(name="vsearch")
@click_parameter_decorators_from_typed_dict(VsearchTypedDict)
def Vsearch(**parameters: Any) -> None:  # noqa: N802 - as its other commands
    """Run a case with an index in a folder."""
    chosen = {name: parameters[name] for name in ("bits", "rerank", "spill", "recall")}
    run(
        db=DB.Vsearch,
        db_config=VsearchConfig(db_label=parameters["db_label"], folder=parameters["folder"]),
        db_case_config=VsearchIndexConfig(tuned_k=parameters["k"], **chosen),
        **parameters,
    )
