"""Commands that run the local FaaS: up, status, down."""

from __future__ import annotations

from typing import Annotated

import typer

from vsearch.cli import options, output

app = typer.Typer(help="Run functions on this machine as on AWS Lambda.", no_args_is_help=True)


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port of the Invoke API; 0 for any.")] = 0,
    environments: Annotated[int, typer.Option(min=1, help="Maximum number of execution environments.")] = 40,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds after which an unused environment is stopped.")] = 600.0,
) -> None:
    """Start the local FaaS in the background and print its endpoint."""
    from vsearch.faas import daemon

    typer.echo(daemon.up(port, environments, idle))


@app.command()
def status(as_json: options.AsJson = False) -> None:
    """List the functions and their environments."""
    from vsearch.faas import daemon

    functions = daemon.status()
    output.print_result(functions, as_json=as_json)


@app.command()
def down() -> None:
    """Stop the local FaaS and all its functions."""
    from vsearch.faas import daemon

    typer.echo("stopped" if daemon.down() else "not running")
