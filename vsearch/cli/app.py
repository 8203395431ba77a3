"""The typer application: all commands under one name, and user errors reported in one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vsearch._version import __version__
from vsearch.cli import (
    changes,
    demo,
    encoders,
    exchange,
    faas,
    indexes,
    joins,
    maintenance,
    plots,
    reading,
    searches,
    serving,
    stacks,
    tools,
    training,
)
from vsearch.errors import VsearchError, VsearchWarning

MISTAKE = 2
INTERRUPTED = 130


class Commands(TyperGroup):
    """The command group; turns errors that a user can cause into one line on stderr and an exit status."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; exit with status 2 on a user error."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", VsearchWarning)
                warnings.showwarning = _warn
                status = run()
        except typer.TyperException as mistake:
            _fail(mistake.format_message())
        except VsearchError as mistake:
            _fail(str(mistake))
        except typer.Abort:
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise
        except OSError as mistake:  # from files that a command itself writes
            from vsearch.storage.stores.advice import explain_system

            _fail(f"{mistake.filename}: {explain_system(mistake)}" if mistake.filename else explain_system(mistake))
        except Exception as mistake:
            if not type(mistake).__module__.startswith("botocore."):
                raise
            _fail(f"AWS: {mistake}")  # no region or keys, or a refusal by AWS
        sys.exit(status if isinstance(status, int) else 0)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


def _fail(message: str) -> None:
    line = " ".join(message.split()) or "invalid command; see --help"
    typer.echo(f"error: {line}", err=True)
    sys.exit(MISTAKE)


app = typer.Typer(
    name="vsearch",
    cls=Commands,
    help="A compressed vector search engine with exact SQL filters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"vsearch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # handled by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


app.command()(indexes.build)
app.command()(searches.search)
app.command()(joins.search_many)
app.command()(indexes.info)
app.command()(changes.append)
app.command()(changes.upsert)
app.command()(changes.update)
app.command()(changes.delete)
app.command()(changes.optimize)
app.command()(maintenance.verify)
app.command()(searches.recall)
app.command()(searches.tune)
app.command()(plots.plot)
app.command()(training.evaluate)
app.command()(training.train)
app.command()(searches.explain)
app.command()(searches.get)
app.command()(reading.count)
app.command()(reading.rows)
app.command()(reading.facet)
app.command()(maintenance.snapshots)
app.command()(changes.tag)
app.command()(changes.restore)
app.command()(changes.changes)
app.command()(maintenance.prune)
app.command()(exchange.export)
app.command("import")(exchange.import_)
app.command()(indexes.datasets)
app.command()(demo.demo)
app.command()(serving.serve)
app.command()(tools.mcp)
app.command()(stacks.deploy)
app.command()(stacks.rollback)
app.command()(stacks.undeploy)
app.command()(stacks.warm)
app.command()(stacks.cost)
app.add_typer(encoders.app, name="encoder")
app.add_typer(faas.app, name="faas")
