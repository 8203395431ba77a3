"""Commands about stacks of functions: deploy, rollback, undeploy, warm, cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import containers, inputs, options, output
from vsearch.fanout.platforms.aws_lambda import FORECAST, LIMITS, PRICES

if TYPE_CHECKING:
    from vsearch.deploy.deployer import DeployRequest
    from vsearch.deploy.packages import Package

KEEP = 3
TERRAFORM = "terraform"

STACK_HELP = "Name of the stack; on AWS Lambda, unless prefixed with the scheme:// of another platform."

Stack = Annotated[str, typer.Option("--stack", help=STACK_HELP)]
ExistingStack = Annotated[str, typer.Argument(help=STACK_HELP)]
Region = Annotated[str | None, typer.Option(help="AWS region; by default the configured one.")]
Memory = Annotated[int, typer.Option(min=LIMITS.least_memory, max=LIMITS.most_memory, help="MB per function.")]


def deploy(
    url: options.Url,
    stack: Stack,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    python: Annotated[
        str | None, typer.Option(help="Python version of the functions; by default this one, if AWS supports it.")
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, max=LIMITS.seconds, help="Seconds per function.")] = 60,
    bucket: Annotated[str | None, typer.Option(help="Bucket for the package; by default the index's.")] = None,
    kms_key: Annotated[
        str | None, typer.Option(help="ARN of the key that encrypts the index's bucket; looked up by default.")
    ] = None,
    overflow: Annotated[str | None, typer.Option(help="s3:// prefix for messages over 6 MB.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="VSEARCH_API_KEY", help="Add a URL that answers JSON to callers with this key."),
    ] = None,
    http_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of concurrent requests to the URL.")
    ] = None,
    no_url: Annotated[bool, typer.Option("--no-url", help="Remove the stack's URL.")] = False,
    writer: Annotated[
        bool | None,
        typer.Option("--writer/--no-writer", help="Add or remove a function that changes the index."),
    ] = None,
    write_key: Annotated[
        str | None,
        typer.Option(
            envvar="VSEARCH_WRITE_KEY", help="Let callers with this key change rows through the URL; adds the writer."
        ),
    ] = None,
    write_concurrency: Annotated[
        int, typer.Option(min=0, help="Concurrent invocations reserved for the writer; 0 reserves none.")
    ] = 2,
    optimize_every: Annotated[
        int | None, typer.Option(min=1, help="Minutes; add a function that runs `vsearch optimize` on this schedule.")
    ] = None,
    no_keeper: Annotated[bool, typer.Option("--no-keeper", help="Remove that function.")] = False,
    keeper_memory: Annotated[
        int, typer.Option(min=LIMITS.least_memory, max=LIMITS.most_memory, help="MB of that function.")
    ] = 3008,
    snap_start: Annotated[bool, typer.Option("--snap-start", help="Start functions from a memory snapshot.")] = False,
    env: Annotated[list[str] | None, typer.Option("--env", help="NAME=VALUE for every function. Repeatable.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="Releases to keep for rollbacks, including this one.")] = KEEP,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Build the package and print the templates. Only the manifest is read; bucket keys are not looked up.",
        ),
    ] = False,
    platform: Annotated[
        str | None,
        typer.Option(
            help="terraform: write a module of the functions. container or cloudrun: write what runs `vsearch serve` in a"
            " container, instead of functions."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="With --platform: folder to write; by default the stack's name.")
    ] = None,
    region: Region = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
) -> None:
    """Deploy an index: package, functions and roles; then check that every function can be invoked."""
    from vsearch.deploy.deployer import DeployRequest, find_target
    from vsearch.errors import InputError

    if platform is not None and platform != TERRAFORM:
        unsupported: dict[str, object] = {
            "bucket": bucket,
            "kms-key": kms_key,
            "overflow": overflow,
            "optimize-every": optimize_every,
        }
        unsupported |= {"http-concurrency": http_concurrency, "env": env}
        requested = {"snap-start": snap_start, "dry-run": dry_run, "no-url": no_url} | unsupported
        if wrong := next((name for name, value in requested.items() if value), None):
            raise InputError(f"--{wrong} is for functions, and cannot be combined with --platform {platform}")
        spec = containers.container_spec(
            url, stack, platform, memory=memory, arch=arch, python=python, timeout=timeout, writer=bool(writer or write_key),
            region=region, endpoint=endpoint,
        )  # fmt: skip
        keys = options.not_none(VSEARCH_API_KEY=api_key, VSEARCH_WRITE_KEY=write_key)
        containers.write(spec, out or stack, keys, as_json=as_json)
        return
    if out is not None and platform is None:
        raise InputError("--out requires --platform terraform, container or cloudrun")

    if no_url and api_key:
        raise InputError("--no-url cannot be combined with an API key: leave one out, or unset VSEARCH_API_KEY")
    if writer is False and write_key:
        raise InputError("--no-writer cannot be combined with a write key: leave one out, or unset VSEARCH_WRITE_KEY")
    if no_keeper and optimize_every is not None:
        raise InputError("--no-keeper cannot be combined with --optimize-every")
    target = find_target(stack)
    deployer, name = target.deployer, target.stack
    changes = bool(writer or write_key)
    platform_options = {
        "bucket": bucket,
        "kms_key": kms_key,
        "http_concurrency": http_concurrency,
        "snap_start": snap_start or None,
    }
    platform_options |= {
        "write_concurrency": write_concurrency if changes else None,
        "keeper_memory": keeper_memory if optimize_every is not None else None,
    }
    dropped = {"url": no_url, "writer": writer is False, "keeper": no_keeper}
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
        writer=changes,
        write_key=write_key,
        optimize_every=optimize_every,
        drop=frozenset(part for part, drop in dropped.items() if drop),
        keep=keep,
        variables=dict(map(_variable, env or ())),
        storage=options.storage(endpoint, False),
        options={option: value for option, value in platform_options.items() if value is not None},
    )
    if platform == TERRAFORM:
        if dry_run or request.drop or keep != KEEP:
            raise InputError(
                "--platform terraform only writes a module, and cannot be combined with --dry-run, --no-url, --no-writer,"
                " --no-keeper or --keep"
            )
        _write_terraform(request, out or name, as_json=as_json)
        return
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
        typer.echo(f"POST {done.url}search" + (f", {done.url}rows" if write_key else ""))


def _write_terraform(request: DeployRequest, folder: str, *, as_json: bool) -> None:
    from vsearch.deploy.aws.deployer import write_terraform

    commands = write_terraform(request, _tell, Path(folder))
    if as_json:
        output.print_json({"stack": request.stack, "folder": folder, "commands": commands})
        return
    typer.echo(f"wrote {folder}: a Terraform module and its packages; to apply it:", err=True)
    for command in commands:
        typer.echo(command)


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
    stack: ExistingStack,
    region: Region = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete a stack that vsearch deployed, with its package and logs; the index is kept."""
    from vsearch.deploy.deployer import find_target

    target = find_target(stack)
    deployer, name = target.deployer, target.stack
    removed = deployer.undeploy(name, region)
    if as_json:
        output.print_json({"stack": name, "deleted": removed})
        return
    typer.echo(f"{name}: deleted" if removed else f"{name}: there is no such stack")


def rollback(
    stack: ExistingStack,
    to: Annotated[
        str | None, typer.Option(help="Release, or a prefix of its name; by default the previous one.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the existing releases.")] = False,
    region: Region = None,
    as_json: options.AsJson = False,
) -> None:
    """Make an earlier release of a stack live again."""
    from vsearch.deploy.deployer import find_target

    target = find_target(stack)
    deployer, name = target.deployer, target.stack
    if show:
        rows = [vars(release) for release in deployer.releases(name, region)]
        output.print_result(rows, as_json=as_json)
        return
    done = deployer.roll_back(name, region, to)
    if as_json:
        output.print_json(vars(done) | {"live": True})
    else:
        typer.echo(f"{name}: release {done.release} is live, with {done.shards} shards")


def warm(
    url: Annotated[str, typer.Argument(metavar="STACK", help="lambda://stack or local-faas://stack.")],
    shards: Annotated[int | None, typer.Option(min=1, help="Number of processors to warm; all by default.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Load what searches need into every function of a stack.

    Warms one environment of each function: concurrent searches start others cold, and AWS stops idle ones after minutes.
    """
    from vsearch.api.remote_opening import open_remote

    warm_bytes = open_remote(url).warm(shards)
    if as_json:
        output.print_json({"bytes": warm_bytes})
    else:
        typer.echo(f"{output.in_bytes(warm_bytes)} in memory")


def cost(
    url: options.Url,
    qps: Annotated[float, typer.Option(help="Queries per second.")] = 1.0,
    memory: Memory = 1769,
    arch: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    batch: Annotated[int, typer.Option(min=1, help="Queries per request.")] = 1,
    queries: options.QueryFile = None,
    hop: Annotated[
        float, typer.Option(min=0, help="Milliseconds per invocation on top of the function's own time.")
    ] = (1e3 * FORECAST.hop),
    k: options.K = 10,
    where: options.Where = None,
    words: Annotated[
        list[str] | None, typer.Option(help="Words that are searched together with the vectors (may be repeated).")
    ] = None,
    writes_per_hour: Annotated[
        float | None, typer.Option(help="Requests to the writer per hour; forecast their cost as well.")
    ] = None,
    rows_per_write: Annotated[int, typer.Option(min=1, help="Rows per request to the writer.")] = 1,
    optimize_every: Annotated[float | None, typer.Option(help="Minutes between two runs of the keeper.")] = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
) -> None:
    """Predict the cost of a stack by running its roles on this machine, warm and one at a time.

    Changes are measured on a copy in memory; the index is not modified.

    The forecast assumes a full processor per function and the same predicate in every query. With less than 1,769 MB of memory,
    a function has a fraction of a processor and takes longer, so it costs about the same.
    """
    from vsearch.deploy.cost import estimate_cost, measure_bill
    from vsearch.errors import InputError
    from vsearch.storage import open_store

    if arch not in PRICES:
        raise InputError(f"arch must be {' or '.join(PRICES)}, got {arch!r}")
    store = open_store(url, **options.storage(endpoint, False))
    vectors = None if queries is None else inputs.read_queries(queries)
    bill, count = measure_bill(
        store,
        memory=memory,
        queries=batch,
        k=k,
        where=options.condition(where),
        vectors=vectors,
        words=words or (),
        hop=hop / 1e3,
    )
    facts = estimate_cost(bill, count, qps, PRICES[arch]).to_dict()
    if writes_per_hour is not None:
        from vsearch.deploy.change_cost import measure_changes

        changes = measure_changes(
            store,
            writes_per_hour=writes_per_hour,
            rows_per_write=rows_per_write,
            optimize_every=optimize_every,
            memory=memory,
            prices=PRICES[arch],
        )
        facts |= {"changes": vars(changes)}
    output.print_result(facts, as_json=as_json)
