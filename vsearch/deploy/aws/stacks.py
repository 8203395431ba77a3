"""Putting a stack on AWS, and taking it away: package and templates into a bucket, the rest through CloudFormation.

What a stack needs lies in ``s3://bucket/vsearch/stacks/<stack>/``, each file under a digest of its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vsearch.deploy.aws.rendering import render
from vsearch.deploy.aws.roles import Place
from vsearch.deploy.aws.template import DESCRIPTION, StackSpec, StackTemplates, make_templates
from vsearch.deploy.aws.versions import activate, function_names, prune
from vsearch.deploy.deployer import Deployment
from vsearch.deploy.packages import Package
from vsearch.errors import InputError, StoreError
from vsearch.fanout.calls.invoker import LIVE

Transform = Callable[[dict[str, Any]], dict[str, Any]]

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

NEVER_MADE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
"""States of a stack whose creation failed: it can only be deleted."""


def package_url(package: Package, bucket: str, stack: str) -> str:
    """Where the package of a stack goes."""
    return f"s3://{bucket}/vsearch/stacks/{stack}/{package.sha256}.zip"


def upload(package: Package, url: str, session: Any) -> bool:
    """Put the package there, unless it is there already; returns whether it was put."""
    place = Place.of(url)
    return _put(place, package.path.read_bytes(), session)


def deploy(
    spec: StackSpec, session: Any, *, transform: Transform | None = None, keep: int = 3, drop_url: bool = False
) -> Deployment:
    """Create or update the stack, wait for it, and ask of every function whether it can be invoked.

    Where the stack has the same release already, CloudFormation is not called; a release that was rolled back from
    answers again.

    Parameters
    ----------
    session : boto3.Session
    transform : callable, optional
        Run on the templates before they are sent; AWS needs none, it runs the SAM transform itself.
    keep : int
        Releases that stay for a rollback, this one among them; older versions of functions are deleted.
    drop_url : bool
        Whether a URL that the stack has goes where `spec` has no key for it.

    Raises
    ------
    InputError
        There is a stack of that name that is not ours, or it has a URL, and neither its key nor `drop_url` was given.
    StoreError
        CloudFormation refused or failed, or a function cannot be invoked; the message has the reason.
    """
    templates = make_templates(spec)
    found = find(spec.stack, session)
    if found is not None:
        _require_ours(found)
        if found["StackStatus"] in NEVER_MADE:
            _delete(spec.stack, session)
            found = None
        elif found["StackStatus"].endswith("IN_PROGRESS"):
            raise StoreError(f"the stack {spec.stack} is in state {found['StackStatus']}; wait, then deploy again")
        elif "Url" in outputs_of(found) and spec.api_key_sha256 is None and not drop_url:
            raise InputError(
                f"the stack {spec.stack} has a URL, which would go; give the key again (VSEARCH_API_KEY), or --no-url"
            )
    changed = found is None or outputs_of(found).get("Release") != templates.release
    if changed:
        changed = _send(spec, templates, session, transform, exists=found is not None)
    functions = function_names(spec.stack, spec.shards, web=spec.api_key_sha256 is not None)
    changed |= activate(functions, templates.release, session) > 0
    check_invocable(functions, session)
    prune(functions, keep, session)
    found = find(spec.stack, session)
    if found is None:
        raise StoreError(f"the stack {spec.stack} is not there after all; see its events in CloudFormation")
    url = outputs_of(found).get("Url")
    return Deployment(spec.stack, found["StackStatus"], templates.release, changed, tuple(functions), url)


def undeploy(stack: str, session: Any) -> bool:
    """Delete a stack and the files that were uploaded for it; False where there is none. The index stays.

    Raises
    ------
    InputError
        The stack was not made by vsearch.
    StoreError
        CloudFormation failed; the message has its reason.
    """
    found = find(stack, session)
    if found is None:
        return False
    _require_ours(found)
    files = outputs_of(found).get("Files", "")
    _delete(stack, session)
    if files.endswith(f"/vsearch/stacks/{stack}/"):
        _remove(Place.of(files), session)
    return True


def check_invocable(functions: Iterable[str], session: Any) -> None:
    """Ask AWS of every function whether it could be invoked by its alias, without running it.

    Raises
    ------
    StoreError
        One could not; the message names it.
    """
    client = session.client("lambda")
    for name in functions:
        try:
            client.invoke(FunctionName=name, Qualifier=LIVE, InvocationType="DryRun")
        except client.exceptions.ClientError as error:
            raise StoreError(f"the function {name} cannot be invoked: {error}") from None


def find(stack: str, session: Any) -> dict[str, Any] | None:
    """What CloudFormation knows of a stack, None where there is none."""
    client = session.client("cloudformation")
    try:
        found: list[dict[str, Any]] = client.describe_stacks(StackName=stack)["Stacks"]
    except client.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        raise StoreError(f"CloudFormation failed: {error}") from None
    alive = [each for each in found if each["StackStatus"] != "DELETE_COMPLETE"]
    return alive[0] if alive else None


def outputs_of(found: dict[str, Any]) -> dict[str, str]:
    """Outputs of a stack by name."""
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def _require_ours(found: dict[str, Any]) -> None:
    if not str(found.get("Description", "")).startswith(DESCRIPTION):
        raise InputError(f"the stack {found['StackName']} was not deployed by vsearch; it stays as it is")


def _send(
    spec: StackSpec, templates: StackTemplates, session: Any, transform: Transform | None, *, exists: bool
) -> bool:
    """Create or update; False where CloudFormation finds nothing to do."""
    change = transform or (lambda template: template)
    for url, template in templates.nested.items():
        _put(Place.of(url), render(change(template)).encode(), session)
    root = Place.of(f"{spec.code.rpartition('/')[0]}/stack-{templates.release}.yaml")
    _put(root, render(change(templates.root)).encode(), session)
    client = session.client("cloudformation")
    address = f"{session.client('s3').meta.endpoint_url}/{root.bucket}/{root.key}"
    try:
        asked = {"StackName": spec.stack, "TemplateURL": address, "Capabilities": CAPABILITIES}
        (client.update_stack if exists else client.create_stack)(**asked)
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
    """Put an object whose name says what is in it; False where it is there already."""
    client = session.client("s3")
    found = client.list_objects_v2(Bucket=place.bucket, Prefix=place.key).get("Contents", [])
    if any(each["Key"] == place.key and each["Size"] == len(data) for each in found):
        return False
    client.put_object(Bucket=place.bucket, Key=place.key, Body=data)
    return True


def _remove(folder: Place, session: Any) -> None:
    client = session.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=folder.prefix):
        names = [{"Key": each["Key"]} for each in page.get("Contents", [])]
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
    """Why a stack failed, as its events and those of its nested stacks say."""
    reasons: list[str] = []
    for each in client.describe_stack_events(StackName=stack).get("StackEvents", []):
        if not str(each.get("ResourceStatus", "")).endswith("FAILED"):
            continue
        inner = str(each.get("PhysicalResourceId", ""))
        if (
            each.get("ResourceType") == "AWS::CloudFormation::Stack"
            and inner not in ("", each["StackId"])
            and not depth
        ):
            reasons += _reasons(inner, client, depth + 1)
        reasons.append(f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', 'no reason given')}")
    return list(dict.fromkeys(reasons))[:10]
