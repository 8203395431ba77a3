"""Commands about stacks of functions: deploy, rollback, undeploy, warm, cost."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from vsearch.cli import inputs, options, output

Stack = Annotated[str, typer.Option("--stack", help="What the functions are named after.")]
Region = Annotated[str | None, typer.Option(help="AWS region; the usual one by default.")]
Memory = Annotated[int, typer.Option(min=128, max=10_240, help="MB of each function.")]


def deploy(
    url: options.Url,
    stack: Stack,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    python: Annotated[
        str | None, typer.Option(help="Python of the functions; this one by default, if AWS has it.")
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, max=900, help="Seconds of each function.")] = 60,
    bucket: Annotated[str | None, typer.Option(help="Bucket of the package; the index's by default.")] = None,
    kms_key: Annotated[
        str | None, typer.Option(help="ARN of the key that encrypts the index's bucket; looked up by default.")
    ] = None,
    overflow: Annotated[str | None, typer.Option(help="s3:// place for messages over 6 MB.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="VSEARCH_API_KEY", help="Add a URL that answers JSON to who knows this key."),
    ] = None,
    http_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests that the URL answers at once, at most.")
    ] = None,
    no_url: Annotated[bool, typer.Option("--no-url", help="Take the URL away that the stack has.")] = False,
    snap_start: Annotated[bool, typer.Option("--snap-start", help="Start functions from a memory snapshot.")] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", help="NAME=VALUE for every function; may be repeated.")
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Releases that stay for a rollback, this one among them.")] = 3,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Build the package and print the templates. Only the manifest is read; buckets' keys are not looked up.",
        ),
    ] = False,
    region: Region = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
) -> None:
    """Deploy an index: package, functions, roles; then ask whether each function can be invoked."""
    import boto3

    from vsearch.deploy import packages
    from vsearch.deploy.aws import keys, stacks, template
    from vsearch.deploy.aws.rendering import render
    from vsearch.deploy.aws.roles import Place
    from vsearch.errors import InputError
    from vsearch.storage import open_store, read_manifest

    index = Place.of(url)
    if no_url and api_key:
        raise InputError("--no-url does not go with an API key: leave one out, or unset VSEARCH_API_KEY")
    home = bucket or index.bucket
    shards = len(read_manifest(open_store(url, **options.storage(endpoint, False)), None).shards)
    session = boto3.Session(region_name=region)
    with TemporaryDirectory(prefix="vsearch-deploy-") as folder:
        package = packages.build_package(Path(folder) / "vsearch.zip", arch, python or _python())
        zipped, unzipped = output.in_bytes(package.zipped), output.in_bytes(package.unzipped)
        typer.echo(f"package {package.sha256[:12]}: {zipped}, {unzipped} unzipped, Python {package.python}", err=True)
        spec = template.StackSpec(
            stack,
            url,
            shards,
            stacks.package_url(package, home, stack),
            runtime=f"python{package.python}",
            memory=memory,
            timeout=timeout,
            arch=arch,
            kms_key=kms_key,
            overflow=overflow,
            api_key_sha256=hashlib.sha256(api_key.encode()).hexdigest() if api_key else None,
            http_concurrency=http_concurrency,
            snap_start=snap_start,
            variables=dict(map(_variable, env or ())),
        )
        made = template.make_templates(spec)
        if dry_run:
            typer.echo(render(made.root), nl=False)
            for place, nested in made.nested.items():
                typer.echo(f"---\n# {place}\n{render(nested)}", nl=False)
            return
        spec = replace(
            spec,
            kms_key=kms_key or keys.encryption_key(index.bucket, session),
            overflow_kms_key=keys.encryption_key(Place.of(overflow).bucket, session) if overflow else None,
        )
        stacks.upload(package, spec.code, session)
        done = stacks.deploy(spec, session, keep=keep, drop_url=no_url)
    if as_json:
        output.print_json(vars(done))
        return
    state = done.status if done.changed else f"{done.status}, unchanged"
    typer.echo(
        f"{stack}: {state}; release {done.release}, {len(done.functions)} functions; open it as lambda://{stack}"
    )
    if done.url:
        typer.echo(f"POST {done.url}search")


def _variable(text: str) -> tuple[str, str]:
    from vsearch.errors import InputError

    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--env must be NAME=VALUE, got {text!r}")
    return name, value


def _python() -> str:
    from vsearch.deploy import packages
    from vsearch.deploy.aws import template

    known = [name.removeprefix("python") for name in template.RUNTIMES]
    return packages.HERE if packages.HERE in known else "3.13"


def undeploy(
    stack: Annotated[str, typer.Argument(help="Name of the stack.")],
    region: Region = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete a stack that vsearch deployed, with its package and its logs; the index stays."""
    import boto3

    from vsearch.deploy.aws import stacks

    removed = stacks.undeploy(stack, boto3.Session(region_name=region))
    if as_json:
        output.print_json({"stack": stack, "deleted": removed})
        return
    typer.echo(f"{stack}: deleted" if removed else f"{stack}: there is no such stack")


def rollback(
    stack: Annotated[str, typer.Argument(help="Name of the stack.")],
    to: Annotated[str | None, typer.Option(help="Release, or how its name begins; the one before by default.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the releases that are there.")] = False,
    region: Region = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a former release of a stack answer again."""
    import boto3

    from vsearch.deploy.aws import stacks, versions
    from vsearch.errors import InputError

    session = boto3.Session(region_name=region)
    found = stacks.find(stack, session)
    if found is None:
        raise InputError(f"there is no stack {stack!r}")
    if show:
        rows = [vars(each) for each in versions.releases(stack, session)]
        (output.print_json if as_json else output.print_rows)(rows)
        return
    done = versions.roll_back(stack, session, web="Url" in stacks.outputs_of(found), release=to)
    if as_json:
        output.print_json(vars(done) | {"live": True})
    else:
        typer.echo(f"{stack}: release {done.release} answers, of {done.shards} shards")


def warm(
    url: Annotated[str, typer.Argument(metavar="STACK", help="lambda://stack or local-faas://stack.")],
    shards: Annotated[int | None, typer.Option(min=1, help="Processors of the stack; all by default.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Load what searches need into every function of a stack.

    One environment of each function is warmed: searches side by side start others cold. AWS ends idle ones after minutes.
    """
    from vsearch.api.remote_opening import open_remote

    held = open_remote(url).warm(shards)
    if as_json:
        output.print_json({"bytes": held})
    else:
        typer.echo(f"{output.in_bytes(held)} in memory")


def cost(
    url: options.Url,
    qps: Annotated[float, typer.Option(help="Queries per second.")] = 1.0,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    batch: Annotated[int, typer.Option(min=1, help="Queries of one request.")] = 1,
    queries: options.QueryFile = None,
    hop: Annotated[float, typer.Option(min=0, help="Milliseconds of an invocation besides the function.")] = 5.0,
    k: options.K = 10,
    where: options.Where = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
) -> None:
    """Predict what a stack will cost, from its roles run warm on this machine, one after the other.

    The forecast is for functions that have a processor each, asked with the same condition again and again. With less memory than 1,769 MB functions have a share of a processor and take longer, so they cost about the same.
    """
    from vsearch.deploy.cost import estimate_cost, measure_bill
    from vsearch.errors import InputError
    from vsearch.fanout.calls.bill import PRICES
    from vsearch.storage import open_store

    if arch not in PRICES:
        raise InputError(f"arch must be {' or '.join(PRICES)}, got {arch!r}")
    store = open_store(url, **options.storage(endpoint, False))
    vectors = None if queries is None else inputs.read_queries(queries)
    bill, many = measure_bill(
        store, memory=memory, queries=batch, k=k, where=options.condition(where), vectors=vectors, hop=hop / 1e3
    )
    found = estimate_cost(bill, many, qps, PRICES[arch])
    if as_json:
        output.print_json(found.to_dict())
    else:
        output.print_facts(found)
