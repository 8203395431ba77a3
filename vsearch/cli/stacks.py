"""Commands about stacks of functions: deploy, rollback, undeploy, warm, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import inputs, options, output
from vsearch.fanout.platforms.aws_lambda import FORECAST, LIMITS, PRICES

if TYPE_CHECKING:
    from vsearch.deploy.packages import Package

Stack = Annotated[
    str,
    typer.Option(
        "--stack", help="What the functions are named after; on AWS Lambda, unless a platform's scheme:// is before it."
    ),
]
Region = Annotated[str | None, typer.Option(help="AWS region; the usual one by default.")]
Memory = Annotated[int, typer.Option(min=LIMITS.least_memory, max=LIMITS.most_memory, help="MB of each function.")]


def deploy(
    url: options.Url,
    stack: Stack,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    python: Annotated[
        str | None, typer.Option(help="Python of the functions; this one by default, if AWS has it.")
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, max=LIMITS.seconds, help="Seconds of each function.")] = 60,
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
    from vsearch.deploy.deployer import DeployRequest, find_target
    from vsearch.errors import InputError

    if no_url and api_key:
        raise InputError("--no-url does not go with an API key: leave one out, or unset VSEARCH_API_KEY")
    target = find_target(stack)
    deployer, name = target.deployer, target.stack
    own = {"bucket": bucket, "kms_key": kms_key, "http_concurrency": http_concurrency, "snap_start": snap_start or None}
    request = DeployRequest(
        url,
        name,
        memory,
        arch,
        python,
        timeout,
        region=region,
        overflow=overflow,
        api_key=api_key,
        drop_url=no_url,
        keep=keep,
        variables=dict(map(_variable, env or ())),
        storage=options.storage(endpoint, False),
        own={option: value for option, value in own.items() if value is not None},
    )
    if dry_run:
        typer.echo(deployer.preview(request, _tell), nl=False)
        return
    done = deployer.deploy(request, _tell)
    if as_json:
        output.print_json(vars(done))
        return
    state = done.status if done.changed else f"{done.status}, unchanged"
    typer.echo(
        f"{name}: {state}; release {done.release}, {len(done.functions)} functions; open it as {target.scheme}://{name}"
    )
    if done.url:
        typer.echo(f"POST {done.url}search")


def _variable(text: str) -> tuple[str, str]:
    from vsearch.errors import InputError

    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--env must be NAME=VALUE, got {text!r}")
    return name, value


def _tell(package: Package) -> None:
    zipped, unzipped = output.in_bytes(package.zipped), output.in_bytes(package.unzipped)
    typer.echo(f"package {package.sha256[:12]}: {zipped}, {unzipped} unzipped, Python {package.python}", err=True)


def undeploy(
    stack: Annotated[
        str, typer.Argument(help="Name of the stack; on AWS Lambda, unless a platform's scheme:// is before it.")
    ],
    region: Region = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete a stack that vsearch deployed, with its package and its logs; the index stays."""
    from vsearch.deploy.deployer import find_target

    target = find_target(stack)
    deployer, name = target.deployer, target.stack
    removed = deployer.undeploy(name, region)
    if as_json:
        output.print_json({"stack": name, "deleted": removed})
        return
    typer.echo(f"{name}: deleted" if removed else f"{name}: there is no such stack")


def rollback(
    stack: Annotated[
        str, typer.Argument(help="Name of the stack; on AWS Lambda, unless a platform's scheme:// is before it.")
    ],
    to: Annotated[str | None, typer.Option(help="Release, or how its name begins; the one before by default.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the releases that are there.")] = False,
    region: Region = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a former release of a stack answer again."""
    from vsearch.deploy.deployer import find_target

    target = find_target(stack)
    deployer, name = target.deployer, target.stack
    if show:
        rows = [vars(each) for each in deployer.releases(name, region)]
        (output.print_json if as_json else output.print_rows)(rows)
        return
    done = deployer.roll_back(name, region, to)
    if as_json:
        output.print_json(vars(done) | {"live": True})
    else:
        typer.echo(f"{name}: release {done.release} answers, of {done.shards} shards")


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
    hop: Annotated[float, typer.Option(min=0, help="Milliseconds of an invocation besides the function.")] = (
        1e3 * FORECAST.hop
    ),
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
