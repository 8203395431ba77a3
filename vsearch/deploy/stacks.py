"""Putting a stack on AWS, and taking it away: the package by its digest, the template through CloudFormation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vsearch.deploy.packages import Package
from vsearch.deploy.template import StackSpec, make_template, render
from vsearch.errors import InputError, StoreError
from vsearch.fanout.invokers import Names

Transform = Callable[[dict[str, Any]], dict[str, Any]]

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


@dataclass(frozen=True)
class Deployment:
    """A stack that is there.

    Attributes
    ----------
    stack, status : str
    changed : bool
        Whether anything was created or updated.
    outputs : dict
    """

    stack: str
    status: str
    changed: bool
    outputs: dict[str, str]


def upload(package: Package, bucket: str, session: Any) -> str:
    """Put the package into a bucket under its digest, unless it is there; returns its URL."""
    key = f"vsearch/packages/{package.sha256}.zip"
    client = session.client("s3")
    found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount", 0)
    if not found:
        client.upload_file(str(package.path), bucket, key)
    return f"s3://{bucket}/{key}"


def deploy(spec: StackSpec, session: Any, *, transform: Transform | None = None, wait: bool = True) -> Deployment:
    """Create or update the stack.

    Parameters
    ----------
    session : boto3.Session
    transform : callable, optional
        Run on the template before it is sent; AWS needs none, it runs the SAM transform itself.

    Raises
    ------
    StoreError
        CloudFormation refused or failed; the message has its reason.
    """
    client = session.client("cloudformation")
    template = make_template(spec)
    body = render(template if transform is None else transform(template))
    asked = {"StackName": spec.stack, "TemplateBody": body, "Capabilities": CAPABILITIES}
    exists = find(spec.stack, session) is not None
    changed = True
    try:
        if exists:
            client.update_stack(**asked)
        else:
            client.create_stack(**asked)
    except client.exceptions.ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise StoreError(f"CloudFormation refused the stack {spec.stack}: {error}") from None
        changed = False
    if wait and changed:
        _wait(client, "stack_update_complete" if exists else "stack_create_complete", spec.stack)
    found = find(spec.stack, session)
    if found is None:
        raise StoreError(f"the stack {spec.stack} is not there after all; see its events in CloudFormation")
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    return Deployment(spec.stack, found["StackStatus"], changed, outputs)


def undeploy(stack: str, session: Any, *, wait: bool = True) -> bool:
    """Delete a stack; False where there is none.

    Raises
    ------
    InputError
        The stack was not made by vsearch.
    """
    found = find(stack, session)
    if found is None:
        return False
    if not str(found.get("Description", "")).startswith("vsearch: "):
        raise InputError(f"the stack {stack} was not deployed by vsearch; it stays")
    client = session.client("cloudformation")
    client.delete_stack(StackName=stack)
    if wait:
        _wait(client, "stack_delete_complete", stack)
    return True


def check_invocable(spec: StackSpec, session: Any) -> list[str]:
    """Ask AWS of every function whether it could be invoked, without running it; returns their names.

    Raises
    ------
    StoreError
        One could not; the message names it.
    """
    client = session.client("lambda")
    names = Names(spec.stack)
    functions = [names.coordinator, names.allocator, *(names.processor(shard) for shard in range(spec.shards))]
    for name in functions:
        try:
            client.invoke(FunctionName=name, InvocationType="DryRun")
        except client.exceptions.ClientError as error:
            raise StoreError(f"the function {name} cannot be invoked: {error}") from None
    return functions


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


def bucket_of(url: str) -> str:
    """The bucket of an s3:// URL."""
    return urlsplit(url).netloc


def _wait(client: Any, event: str, stack: str) -> None:
    from botocore.exceptions import WaiterError

    try:
        client.get_waiter(event).wait(StackName=stack, WaiterConfig={"Delay": 2, "MaxAttempts": 450})
    except WaiterError as error:
        events = client.describe_stack_events(StackName=stack).get("StackEvents", [])
        reasons = [
            each.get("ResourceStatusReason", "") for each in events if "FAILED" in each.get("ResourceStatus", "")
        ]
        raise StoreError(f"the stack {stack} failed: {'; '.join(filter(None, reasons)) or error}") from None
