"""Creating, updating and deleting stacks on AWS: files go to a bucket, the rest through CloudFormation.

The files of a stack are in ``s3://bucket/vsearch/stacks/<stack>/``, each named after a digest of its content.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from vsearch.deploy.aws.roles import Place
from vsearch.deploy.aws.template import DESCRIPTION, StackSpec, StackTemplates, make_templates
from vsearch.deploy.aws.versions import OptionalFunctions, activate, function_names, prune
from vsearch.deploy.deployer import Deployment
from vsearch.deploy.packages import Package
from vsearch.deploy.rendering import render
from vsearch.errors import InputError, StoreError
from vsearch.fanout.calls.invoker import LIVE

Transform = Callable[[dict[str, Any]], dict[str, Any]]

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

NEVER_MADE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
"""States of a stack whose creation failed; it can only be deleted."""


def package_url(package: Package, bucket: str, stack: str) -> str:
    """URL for the package of a stack."""
    return f"s3://{bucket}/vsearch/stacks/{stack}/{package.sha256}.zip"


def upload(package: Package, url: str, session: Any) -> bool:
    """Upload the package unless it is already there; return whether it was uploaded."""
    place = Place.of(url)
    return _put(place, package.path.read_bytes(), session)


def deploy(
    spec: StackSpec,
    session: Any,
    *,
    transform: Transform | None = None,
    keep: int = 3,
    drop: Collection[str] = (),
) -> Deployment:
    """Create or update the stack, wait for it, and check that every function can be invoked.

    If the stack already has this release, CloudFormation is not called; a release that was rolled back from becomes live
    again.

    Parameters
    ----------
    session : boto3.Session
    transform : callable, optional
        Applied to the templates before they are sent; not needed on AWS, which runs the SAM transform itself.
    keep : int
        Releases to keep for rollbacks, including this one; older versions of functions are deleted.
    drop : collection of str
        Parts that are removed if `spec` does not have them: "url", "writer", "keeper".

    Raises
    ------
    InputError
        A stack of this name was not deployed by vsearch, or something would be removed that is not in `drop`.
    StoreError
        CloudFormation refused or failed, or a function cannot be invoked; the message says why.
    """
    templates, optional = make_templates(spec), spec.optional
    existing = find(spec.stack, session)
    if existing is not None:
        _require_ours(existing)
        if existing["StackStatus"] in NEVER_MADE:
            _delete(spec.stack, session)
            existing = None
        elif existing["StackStatus"].endswith("IN_PROGRESS"):
            raise StoreError(f"the stack {spec.stack} is in state {existing['StackStatus']}; wait, then deploy again")
        else:
            _check_dropped(spec.stack, OptionalFunctions.of_outputs(outputs_of(existing)), optional, drop)
    changed = existing is None or outputs_of(existing).get("Release") != templates.release
    if changed:
        changed = _send(spec, templates, session, transform, exists=existing is not None)
    functions = function_names(spec.stack, spec.shards, optional)
    changed |= activate(functions, templates.release, session) > 0
    check_invocable(functions, session)
    prune(functions, keep, session)
    existing = find(spec.stack, session)
    if existing is None:
        raise StoreError(f"the stack {spec.stack} does not exist after deployment; see its events in CloudFormation")
    url = outputs_of(existing).get("Url")
    return Deployment(spec.stack, existing["StackStatus"], templates.release, changed, tuple(functions), url)


def _check_dropped(stack: str, present: OptionalFunctions, requested: OptionalFunctions, drop: Collection[str]) -> None:
    """Refuse to remove a part of a stack unless that was requested."""
    advice = {
        "url": (present.web and not requested.web, "a URL", "pass its key again (VSEARCH_API_KEY), or --no-url"),
        "writer": (present.writer and not requested.writer, "a writer", "pass --writer again, or --no-writer"),
        "keeper": (present.keeper and not requested.keeper, "a keeper", "pass --optimize-every again, or --no-keeper"),
    }
    for part, (removed, described, remedy) in advice.items():
        if removed and part not in drop:
            raise InputError(f"the stack {stack} has {described}, which would be removed; {remedy}")


def undeploy(stack: str, session: Any) -> bool:
    """Delete a stack and its uploaded files; False if there is no such stack. The index is kept.

    Raises
    ------
    InputError
        The stack was not deployed by vsearch.
    StoreError
        CloudFormation failed; the message says why.
    """
    existing = find(stack, session)
    if existing is None:
        return False
    _require_ours(existing)
    files = outputs_of(existing).get("Files", "")
    _delete(stack, session)
    if files.endswith(f"/vsearch/stacks/{stack}/"):
        _remove(Place.of(files), session)
    return True


def check_invocable(functions: Iterable[str], session: Any) -> None:
    """Check for every function that it can be invoked by its alias, without running it.

    Raises
    ------
    StoreError
        A function cannot be invoked; the message names it.
    """
    client = session.client("lambda")
    for name in functions:
        try:
            client.invoke(FunctionName=name, Qualifier=LIVE, InvocationType="DryRun")
        except client.exceptions.ClientError as error:
            raise StoreError(f"the function {name} cannot be invoked: {error}") from None


def find(stack: str, session: Any) -> dict[str, Any] | None:
    """CloudFormation's description of a stack; None if there is no such stack."""
    client = session.client("cloudformation")
    try:
        descriptions: list[dict[str, Any]] = client.describe_stacks(StackName=stack)["Stacks"]
    except client.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        raise StoreError(f"CloudFormation failed: {error}") from None
    alive = [description for description in descriptions if description["StackStatus"] != "DELETE_COMPLETE"]
    return alive[0] if alive else None


def outputs_of(description: dict[str, Any]) -> dict[str, str]:
    """Outputs of a stack by name."""
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}


def _require_ours(description: dict[str, Any]) -> None:
    if not str(description.get("Description", "")).startswith(DESCRIPTION):
        raise InputError(f"the stack {description['StackName']} was not deployed by vsearch and is left unchanged")


def _send(
    spec: StackSpec, templates: StackTemplates, session: Any, transform: Transform | None, *, exists: bool
) -> bool:
    """Create or update the stack; False if CloudFormation has nothing to update."""
    change = transform or (lambda template: template)
    for url, template in templates.nested.items():
        _put(Place.of(url), render(change(template)).encode(), session)
    root = Place.of(f"{spec.code.rpartition('/')[0]}/stack-{templates.release}.yaml")
    _put(root, render(change(templates.root)).encode(), session)
    client = session.client("cloudformation")
    address = f"{session.client('s3').meta.endpoint_url}/{root.bucket}/{root.key}"
    try:
        arguments = {"StackName": spec.stack, "TemplateURL": address, "Capabilities": CAPABILITIES}
        (client.update_stack if exists else client.create_stack)(**arguments)
    except client.exceptions.ClientError as error:
        if "No updates are to be performed" in str(error):
            return False
        raise StoreError(f"CloudFormation refused the stack {spec.stack}: {error}") from None
    _wait("stack_update_complete" if exists else "stack_create_complete", spec.stack, session)
    return True


def _delete(stack: str, session: Any) -> None:
    session.client("cloudformation").delete_stack(StackName=stack)
    _wait("stack_delete_complete", stack, session)


def _put(place: Place, data: bytes, session: Any) -> bool:
    """Put an object named after its content; False if it already exists."""
    client = session.client("s3")
    objects = client.list_objects_v2(Bucket=place.bucket, Prefix=place.key).get("Contents", [])
    if any(stored["Key"] == place.key and stored["Size"] == len(data) for stored in objects):
        return False
    client.put_object(Bucket=place.bucket, Key=place.key, Body=data)
    return True


def _remove(folder: Place, session: Any) -> None:
    client = session.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=folder.prefix):
        names = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if names:
            client.delete_objects(Bucket=folder.bucket, Delete={"Objects": names, "Quiet": True})


def _wait(event: str, stack: str, session: Any) -> None:
    from botocore.exceptions import WaiterError

    client = session.client("cloudformation")
    try:
        client.get_waiter(event).wait(StackName=stack, WaiterConfig={"Delay": 2, "MaxAttempts": 900})
    except WaiterError as error:
        reasons = "; ".join(_reasons(stack, client))
        raise StoreError(f"the stack {stack} failed: {reasons or error}") from None


def _reasons(stack: str, client: Any, depth: int = 0) -> list[str]:
    """Why a stack failed, from its events and those of nested stacks."""
    reasons: list[str] = []
    for event in client.describe_stack_events(StackName=stack).get("StackEvents", []):
        if not str(event.get("ResourceStatus", "")).endswith("FAILED"):
            continue
        inner = str(event.get("PhysicalResourceId", ""))
        if (
            event.get("ResourceType") == "AWS::CloudFormation::Stack"
            and inner not in ("", event["StackId"])
            and not depth
        ):
            reasons += _reasons(inner, client, depth + 1)
        reasons.append(f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}")
    return list(dict.fromkeys(reasons))[:10]
