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
from vsearch.deploy.aws import keys, stacks, template, versions
from vsearch.deploy.aws.rendering import render
from vsearch.deploy.aws.roles import Place
from vsearch.deploy.deployer import Deployment, DeployRequest, Release, Tell
from vsearch.errors import InputError

OWN = ("bucket", "kms_key", "http_concurrency", "snap_start")
"""Options that other platforms do not have."""


def deploy(request: DeployRequest, tell: Tell) -> Deployment:
    """Build and upload the package, create or update the stack, and check that every function can be invoked.

    Raises
    ------
    InputError, StoreError, MissingDependencyError
    """
    session = _session(request.region)
    with _packaged(request, tell) as (package, spec):
        overflow = request.overflow
        spec = replace(
            spec,
            kms_key=spec.kms_key or keys.encryption_key(Place.of(request.index).bucket, session),
            overflow_kms_key=keys.encryption_key(Place.of(overflow).bucket, session) if overflow else None,
        )
        stacks.upload(package, spec.code, session)
        return stacks.deploy(spec, session, keep=request.keep, drop_url=request.drop_url)


def preview(request: DeployRequest, tell: Tell) -> str:
    """Render the templates. The package is built, but only the manifest is read, and bucket keys are not looked up.

    Raises
    ------
    InputError, StoreError, MissingDependencyError
    """
    with _packaged(request, tell) as (_, spec):
        templates = template.make_templates(spec)
    nested = "".join(f"---\n# {place}\n{render(body)}" for place, body in templates.nested.items())
    return render(templates.root) + nested


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
    return versions.roll_back(stack, session, web="Url" in stacks.outputs_of(stack_found), release=release)


@contextmanager
def _packaged(request: DeployRequest, tell: Tell) -> Iterator[tuple[packages.Package, template.StackSpec]]:
    """Yield the package, in a temporary folder, and the specification of the stack."""
    unknown = sorted(set(request.own) - set(OWN))
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such option of AWS Lambda")
    home = request.own.get("bucket") or Place.of(request.index).bucket
    store = storage.open_store(request.index, **request.storage)
    manifest = storage.read_manifest(store, None)
    with TemporaryDirectory(prefix="vsearch-deploy-") as folder:
        package = packages.build_package(Path(folder) / "vsearch.zip", request.arch, request.python or _python())
        tell(package)
        yield (
            package,
            template.StackSpec(
                request.stack,
                request.index,
                len(manifest.shards),
                stacks.package_url(package, home, request.stack),
                runtime=f"python{package.python}",
                memory=request.memory,
                timeout=request.timeout,
                arch=request.arch,
                kms_key=request.own.get("kms_key"),
                overflow=request.overflow,
                api_key_sha256=hashlib.sha256(request.api_key.encode()).hexdigest() if request.api_key else None,
                http_concurrency=request.own.get("http_concurrency"),
                snap_start=bool(request.own.get("snap_start")),
                variables=request.variables,
            ),
        )


def _session(region: str | None) -> Any:
    import boto3

    return boto3.Session(region_name=region)


def _find(stack: str, session: Any) -> dict[str, Any]:
    found = stacks.find(stack, session)
    if found is None:
        raise InputError(f"there is no stack {stack!r}")
    return found


def _python() -> str:
    known = [name.removeprefix("python") for name in template.RUNTIMES]
    return packages.HERE if packages.HERE in known else "3.13"
