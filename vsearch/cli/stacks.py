"""Commands about stacks of functions: deploy, undeploy, warm, cost."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from vsearch.cli import options, output

Stack = Annotated[str, typer.Option("--stack", help="What the functions are named after.")]
Region = Annotated[str | None, typer.Option(help="AWS region; the usual one by default.")]
Memory = Annotated[int, typer.Option(min=128, max=10_240, help="MB of each function.")]


def deploy(
    url: options.Url,
    stack: Stack,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    timeout: Annotated[int, typer.Option(min=1, max=900, help="Seconds of each function.")] = 60,
    bucket: Annotated[str | None, typer.Option(help="Bucket of the package; the index's by default.")] = None,
    kms_key: Annotated[str | None, typer.Option(help="ARN of the key that encrypts the bucket.")] = None,
    overflow: Annotated[str | None, typer.Option(help="s3:// place for messages over 6 MB.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Add a URL that answers JSON to who knows this key.")] = None,
    snap_start: Annotated[bool, typer.Option("--snap-start", help="Start functions from a memory snapshot.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build the package, print the template, change nothing.")
    ] = False,
    region: Region = None,
    endpoint: options.Endpoint = None,
) -> None:
    """Deploy an index: package, functions, roles; then ask whether each function can be invoked."""
    import boto3

    from vsearch.deploy import packages, stacks, template
    from vsearch.storage import open_store, read_manifest

    shards = len(read_manifest(open_store(url, **options.storage(endpoint, False)), None).shards)
    with TemporaryDirectory(prefix="vsearch-deploy-") as folder:
        package = packages.build_package(Path(folder) / "vsearch.zip", arch)
        typer.echo(
            f"package {package.sha256[:12]}: {output.in_bytes(package.zipped)}, {output.in_bytes(package.unzipped)} unzipped",
            err=True,
        )
        home = bucket or stacks.bucket_of(url)
        session = boto3.Session(region_name=region)
        code = (
            f"s3://{home}/vsearch/packages/{package.sha256}.zip" if dry_run else stacks.upload(package, home, session)
        )
    spec = template.StackSpec(
        stack,
        url,
        shards,
        code,
        memory=memory,
        timeout=timeout,
        arch=arch,
        kms_key=kms_key,
        overflow=overflow,
        api_key_sha256=hashlib.sha256(api_key.encode()).hexdigest() if api_key else None,
        snap_start=snap_start,
    )
    if dry_run:
        typer.echo(template.render(template.make_template(spec)), nl=False)
        return
    done = stacks.deploy(spec, session)
    functions = stacks.check_invocable(spec, session)
    state = done.status if done.changed else f"{done.status}, unchanged"
    typer.echo(f"{stack}: {state}; {len(functions)} functions; open it as lambda://{stack}")


def undeploy(stack: Annotated[str, typer.Argument(help="Name of the stack.")], region: Region = None) -> None:
    """Delete a stack that vsearch deployed; the index stays."""
    import boto3

    from vsearch.deploy import stacks

    removed = stacks.undeploy(stack, boto3.Session(region_name=region))
    typer.echo(f"{stack}: deleted" if removed else f"{stack}: there is no such stack")


def warm(
    url: Annotated[str, typer.Argument(metavar="STACK", help="lambda://stack or local-faas://stack.")],
    shards: Annotated[int, typer.Option(min=1, help="Processors of the stack.")],
) -> None:
    """Load what searches need into every function of a stack."""
    from vsearch.fanout.remote import open_remote

    typer.echo(f"{output.in_bytes(open_remote(url).warm(shards))} in memory")


def cost(
    url: options.Url,
    qps: Annotated[float, typer.Option(help="Queries per second.")] = 1.0,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    batch: Annotated[int, typer.Option(min=1, help="Queries of one request.")] = 1,
    k: options.K = 10,
    where: options.Where = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
) -> None:
    """Predict what a stack will cost, from its roles run warm on this machine."""
    from vsearch.deploy.cost import estimate_cost, measure_bill
    from vsearch.errors import InputError
    from vsearch.fanout.bill import PRICES
    from vsearch.storage import open_store

    if arch not in PRICES:
        raise InputError(f"arch={arch!r} is not usable: give {' or '.join(PRICES)}")
    store = open_store(url, **options.storage(endpoint, False))
    bill, queries = measure_bill(store, memory=memory, queries=batch, k=k, where=options.condition(where))
    found = estimate_cost(bill, queries, qps, PRICES[arch])
    if as_json:
        output.print_json(found.to_dict())
    else:
        output.print_facts(found)
