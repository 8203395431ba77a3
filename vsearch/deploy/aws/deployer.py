"""The deployer of AWS Lambda: implements the deploy commands with CloudFormation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vsearch import storage
from vsearch.deploy import packages
from vsearch.deploy.aws import keys, stacks, template, terraform, versions
from vsearch.deploy.aws.changing import ChangingSpec
from vsearch.deploy.aws.roles import Place
from vsearch.deploy.deployer import Deployment, DeployRequest, Release, Tell
from vsearch.deploy.rendering import render
from vsearch.errors import InputError

OPTIONS = ("bucket", "kms_key", "http_concurrency", "snap_start", "write_concurrency", "keeper_memory")
"""Options that other platforms do not have."""


def deploy(request: DeployRequest, tell: Tell) -> Deployment:
    """Build and upload the package, create or update the stack, and check that every function can be invoked.

    Raises
    ------
    InputError
        An option is invalid.
    StoreError
        AWS refused a request, or the index cannot be read.
    MissingDependencyError
        boto3 or a package that the build requires is not installed.
    """
    session = _session(request.region)
    with _packaged(request, tell) as (built, spec):
        overflow = request.overflow
        spec = replace(
            spec,
            kms_key=spec.kms_key or keys.encryption_key(Place.of(request.index).bucket, session),
            overflow_kms_key=keys.encryption_key(Place.of(overflow).bucket, session) if overflow else None,
        )
        for url, package in built.items():
            stacks.upload(package, url, session)
        return stacks.deploy(spec, session, keep=request.keep, drop=request.drop)


def preview(request: DeployRequest, tell: Tell) -> str:
    """Render the templates. The package is built, but only the manifest is read, and bucket keys are not looked up.

    Raises
    ------
    InputError, StoreError, MissingDependencyError
        As for `deploy`.
    """
    with _packaged(request, tell) as (_, spec):
        templates = template.make_templates(spec)
    nested = "".join(f"---\n# {place}\n{render(body)}" for place, body in templates.nested.items())
    return render(templates.root) + nested


def write_terraform(request: DeployRequest, tell: Tell, folder: Path) -> list[str]:
    """Write a Terraform module of the stack and its packages; return the commands that apply it.

    Only the manifest is read; keys of buckets are not looked up.

    Raises
    ------
    InputError, StoreError, MissingDependencyError
        As for `deploy`.
    """
    with _packaged(request, tell) as (built, spec):
        return terraform.write_module(spec, built, folder, request.region)


def undeploy(stack: str, region: str | None) -> bool:
    """Delete a stack and its uploaded files; see `stacks.undeploy`."""
    return stacks.undeploy(stack, _session(region))


def releases(stack: str, region: str | None) -> Sequence[Release]:
    """Deployed releases that still exist, newest first.

    Raises
    ------
    InputError
        There is no such stack.
    """
    session = _session(region)
    _find(stack, session)
    return versions.releases(stack, session)


def roll_back(stack: str, region: str | None, release: str | None) -> Release:
    """Make an earlier release live; see `versions.roll_back`.

    Raises
    ------
    InputError
        There is no such stack, or no such release.
    """
    session = _session(region)
    stack_found = _find(stack, session)
    optional = versions.OptionalFunctions.of_outputs(stacks.outputs_of(stack_found))
    return versions.roll_back(stack, session, optional, release)


@contextmanager
def _packaged(request: DeployRequest, tell: Tell) -> Iterator[tuple[dict[str, packages.Package], template.StackSpec]]:
    """Yield the packages, in a temporary folder, by the URLs to upload them to, and the specification of the stack."""
    unknown = sorted(set(request.options) - set(OPTIONS))
    if unknown:
        raise InputError(f"AWS Lambda has no option {', '.join(unknown)}")
    home = request.options.get("bucket") or Place.of(request.index).bucket
    store = storage.open_store(request.index, **request.storage)
    manifest = storage.read_manifest(store, None)
    python = request.python or _python()
    with TemporaryDirectory(prefix="vsearch-deploy-") as folder:
        built: dict[str, packages.Package] = {}

        def build(name: str, *, changes: bool) -> str:
            package = packages.build_package(Path(folder) / name, request.arch, python, changes=changes)
            tell(package)
            url = stacks.package_url(package, home, request.stack)
            built[url] = package
            return url

        code = build("vsearch.zip", changes=False)
        changing = None
        if request.writer or request.write_key or request.optimize_every is not None:
            changing = _changing(request, build("vsearch-changes.zip", changes=True))
        yield (
            built,
            template.StackSpec(
                request.stack,
                request.index,
                len(manifest.shards),
                code,
                runtime=f"python{built[code].python}",
                memory=request.memory,
                timeout=request.timeout,
                arch=request.arch,
                kms_key=request.options.get("kms_key"),
                overflow=request.overflow,
                api_key_sha256=_sha256(request.api_key),
                http_concurrency=request.options.get("http_concurrency"),
                snap_start=bool(request.options.get("snap_start")),
                variables=request.variables,
                changing=changing,
            ),
        )


def _changing(request: DeployRequest, code: str) -> ChangingSpec:
    concurrency = {
        name: request.options[name] for name in ("write_concurrency", "keeper_memory") if name in request.options
    }
    return ChangingSpec(
        code,
        writer=request.writer or request.write_key is not None,
        write_key_sha256=_sha256(request.write_key),
        keep_minutes=request.optimize_every,
        **concurrency,
    )


def _sha256(key: str | None) -> str | None:
    return hashlib.sha256(key.encode()).hexdigest() if key else None


def _session(region: str | None) -> Any:
    import boto3

    return boto3.Session(region_name=region)


def _find(stack: str, session: Any) -> dict[str, Any]:
    deployed = stacks.find(stack, session)
    if deployed is None:
        raise InputError(f"there is no stack {stack!r}")
    return deployed


def _python() -> str:
    known = [name.removeprefix("python") for name in template.RUNTIMES]
    return packages.HERE if packages.HERE in known else "3.13"
