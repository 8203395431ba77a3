"""The SAM template of a stack: one function per shard, in nested stacks if one stack cannot hold them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from vsearch.deploy.aws.changing import ChangingSpec, keeper_properties, writer_properties
from vsearch.deploy.aws.roles import Place, make_roles
from vsearch.deploy.aws.versions import OptionalFunctions, describe_version
from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import LIVE, Names
from vsearch.fanout.platforms.aws_lambda import LIMITS

RUNTIMES = ("python3.12", "python3.13", "python3.14")
"""AWS runtimes on Amazon Linux 2023; NumPy's wheels do not load on older systems."""

LARGEST_RESOURCES = 500
"""Resource limit of a CloudFormation stack."""

PER_FUNCTION = 3
"""Resources per function: the function, its version and its alias."""

BESIDE = 26
"""Maximum number of resources besides processors: roles, logs, coordinator, allocator, web function and its URL, writer, keeper
and its schedule."""

MOST_PROCESSORS = (LARGEST_RESOURCES - BESIDE) // PER_FUNCTION

LOG_DAYS = 30

OWN_VARIABLES = {
    f"VSEARCH_{name}"
    for name in ("INDEX", "STACK", "ALIAS", "RELEASE", "OVERFLOW", "INVOKER", "API_KEY_SHA256", "WRITE_KEY_SHA256")
}
"""Variables that templates set themselves."""

DESCRIPTION = "vsearch: "
"""Prefix of the description of every stack deployed by vsearch."""

_STACK = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,39}")
_KEY = "arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+"


@dataclass(frozen=True)
class StackSpec:
    """Description of a deployment.

    Attributes
    ----------
    stack : str
        Name of the stack, and prefix of its functions.
    index : str
        ``s3://bucket/prefix``.
    shards : int
    code : str
        ``s3://bucket/key`` of the package; the key contains a digest of the package, so that new code becomes a new version.
        Other files of the stack are stored next to it.
    runtime : str
        Runtime that the package was built for, such as ``python3.13``.
    memory : int
        Memory per function in MB.
    timeout : int
        Seconds per function.
    arch : {"x86_64", "arm64"}
    kms_key : str, optional
        ARN of the key that encrypts the index's bucket.
    overflow : str, optional
        ``s3://bucket/prefix`` for messages over the platform's limit; the bucket should have a rule that expires them.
    overflow_kms_key : str, optional
        ARN of the key that encrypts the overflow bucket.
    api_key_sha256 : str, optional
        If set, the stack has a function URL that answers JSON.
    http_concurrency : int, optional
        Maximum number of concurrent requests to the URL, reserved from the account's concurrency.
    snap_start : bool
        Whether functions start from a snapshot of their memory.
    variables : dict
        Additional environment variables of every function.
    tags : dict
        Tags of every function.
    changing : ChangingSpec, optional
        Functions that change the index.
    """

    stack: str
    index: str
    shards: int
    code: str
    runtime: str = "python3.13"
    memory: int = 1769
    timeout: int = 60
    arch: str = "x86_64"
    kms_key: str | None = None
    overflow: str | None = None
    overflow_kms_key: str | None = None
    api_key_sha256: str | None = None
    http_concurrency: int | None = None
    snap_start: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    changing: ChangingSpec | None = None

    @property
    def optional(self) -> OptionalFunctions:
        """Functions that not every stack has."""
        changing = self.changing
        return OptionalFunctions(
            web=self.api_key_sha256 is not None,
            writer=changing is not None and changing.writer,
            keeper=changing is not None and changing.keep_minutes is not None,
        )


@dataclass(frozen=True)
class StackTemplates:
    """The templates of a stack.

    Attributes
    ----------
    release : str
        Digest of the templates. Versions of functions are published under it.
    root : dict
    nested : dict
        Nested templates by the URL (``s3://``) that the root refers to.
    """

    release: str
    root: dict[str, Any]
    nested: dict[str, dict[str, Any]]


def make_templates(spec: StackSpec) -> StackTemplates:
    """Build the templates, as plain data.

    Raises
    ------
    InputError
        The stack's name, a URL or a size is invalid.
    """
    _check(spec)
    blank = _make(spec, "")
    release = _digest([blank.root, *blank.nested.values()])
    return _make(spec, release)


def _make(spec: StackSpec, release: str) -> StackTemplates:
    names, index, optional, changing = Names(spec.stack), Place.of(spec.index), spec.optional, spec.changing
    overflow = Place.of(spec.overflow) if spec.overflow else None
    log_group, version = f"/vsearch/{spec.stack}", describe_version(release, spec.shards)
    variables = {**spec.variables, "VSEARCH_INDEX": index.url, "VSEARCH_STACK": spec.stack, "VSEARCH_ALIAS": LIVE}
    variables |= {"VSEARCH_RELEASE": release} | ({"VSEARCH_OVERFLOW": overflow.url} if overflow else {})
    shared = _shared(spec, log_group, variables)
    logs = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": log_group, "RetentionInDays": LOG_DAYS}}
    resources: dict[str, Any] = {
        **make_roles(
            names,
            spec.shards,
            index,
            overflow,
            log_group,
            writer=optional.writer,
            keeper=optional.keeper,
        ),
        "Logs": logs | {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"},
        "Coordinator": _function(names.coordinator, "coordinator", _arn_of("CoordinatorRole"), version),
        "Allocator": _function(names.allocator, "allocator", _arn_of("AllocatorRole"), version),
    }
    outputs: dict[str, Any] = {
        "Release": {"Value": release},
        "Shards": {"Value": str(spec.shards)},
        "Files": {"Value": _files(spec)},
    }
    if spec.api_key_sha256:
        resources["Http"] = _function(f"{spec.stack}-http", "http", _arn_of("CoordinatorRole"), version)
        resources["Http"]["Properties"] |= {
            "Environment": {"Variables": _key_variables(spec)},
            "FunctionUrlConfig": {"AuthType": "NONE"},
        }
        if spec.http_concurrency is not None:
            resources["Http"]["Properties"]["ReservedConcurrentExecutions"] = spec.http_concurrency
        outputs["Url"] = {"Value": {"Fn::GetAtt": ["HttpUrl", "FunctionUrl"]}}
    if changing is not None and optional.writer:
        resources["Writer"] = _function(names.writer, "writer", _arn_of("WriterRole"), version)
        resources["Writer"]["Properties"] |= writer_properties(changing)
        outputs["Writer"] = {"Value": names.writer}
    if changing is not None and optional.keeper:
        resources["Keeper"] = _function(names.keeper, "keeper", _arn_of("KeeperRole"), version)
        resources["Keeper"]["Properties"] |= keeper_properties(changing)
        outputs["Keeper"] = {"Value": names.keeper}
    nested = {}
    if spec.shards <= MOST_PROCESSORS:
        resources |= _processors(names, range(spec.shards), _arn_of("ProcessorRole"), version)
    else:
        for number, first in enumerate(range(0, spec.shards, MOST_PROCESSORS)):
            shard_range = range(first, min(first + MOST_PROCESSORS, spec.shards))
            body = _nested_template(spec, names, shard_range, shared, version)
            url = f"{_files(spec)}processors-{number}-{_digest(body)}.json"
            nested[url] = body
            resources[f"Processors{number}"] = _nested_stack(url)
    return StackTemplates(release, _root_template(spec, shared, resources, outputs), nested)


def _key_variables(spec: StackSpec) -> dict[str, str]:
    hashes = {"VSEARCH_API_KEY_SHA256": spec.api_key_sha256 or ""}
    if spec.changing is not None and spec.changing.write_key_sha256:
        hashes["VSEARCH_WRITE_KEY_SHA256"] = spec.changing.write_key_sha256
    return hashes


def _root_template(
    spec: StackSpec, shared: dict[str, Any], resources: dict[str, Any], outputs: dict[str, Any]
) -> dict[str, Any]:
    keys = {"KmsKey": spec.kms_key} | ({"OverflowKmsKey": spec.overflow_kms_key} if spec.overflow else {})
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": f"{DESCRIPTION}{spec.shards} shards of {spec.index}",
        "Parameters": {
            name: {
                "Type": "String",
                "Default": key or "",
                "AllowedPattern": f"^({_KEY})?$",
                "Description": "ARN of the key that encrypts the bucket; empty where S3 does it by itself.",
            }
            for name, key in keys.items()
        },
        "Conditions": {f"Has{name}": {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]} for name in keys},
        "Globals": {"Function": shared},
        "Resources": resources,
        "Outputs": outputs,
    }


def _nested_template(
    spec: StackSpec, names: Names, shards: range, shared: dict[str, Any], version: str
) -> dict[str, Any]:
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": f"{DESCRIPTION}shards {shards[0]} to {shards[-1]} of {spec.index}",
        "Parameters": {"Role": {"Type": "String", "Description": "ARN of the role of processors."}},
        "Globals": {"Function": shared},
        "Resources": _processors(names, shards, {"Ref": "Role"}, version),
    }


def _nested_stack(url: str) -> dict[str, Any]:
    place = url.removeprefix("s3://")
    return {
        "Type": "AWS::CloudFormation::Stack",
        "Properties": {
            "TemplateURL": {"Fn::Sub": f"https://s3.${{AWS::Region}}.${{AWS::URLSuffix}}/{place}"},
            "Parameters": {"Role": _arn_of("ProcessorRole")},
        },
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
    }


def _shared(spec: StackSpec, log_group: str, variables: dict[str, str]) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "Runtime": spec.runtime,
        "Architectures": [spec.arch],
        "CodeUri": spec.code,
        "MemorySize": spec.memory,
        "Timeout": spec.timeout,
        "Environment": {"Variables": variables},
        "LoggingConfig": {"LogGroup": log_group},
        "AutoPublishAlias": LIVE,
        "Tags": {"vsearch": spec.stack, **spec.tags},
    }
    if spec.snap_start:
        shared["SnapStart"] = {"ApplyOn": "PublishedVersions"}
    return shared


def _processors(names: Names, shards: range, role: Any, version: str) -> dict[str, Any]:
    return {f"Processor{shard}": _function(names.processor(shard), "processor", role, version) for shard in shards}


def _function(name: str, handler: str, role: Any, version: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"FunctionName": name, "Handler": f"functions.{handler}.handler", "Role": role}
    # publish a version for any change; cfn-lint does not accept this property among Globals
    properties |= {"AutoPublishAliasAllProperties": True, "VersionDescription": version}
    return {"Type": "AWS::Serverless::Function", "Properties": properties}


def _arn_of(role: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [role, "Arn"]}


def _files(spec: StackSpec) -> str:
    """The folder of the package, with a trailing slash."""
    return spec.code.rpartition("/")[0] + "/"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _check(spec: StackSpec) -> None:
    if not _STACK.fullmatch(spec.stack):
        raise InputError(
            f"stack must be at most 40 letters, digits and hyphens, starting with a letter, got {spec.stack!r}"
        )
    if spec.stack.endswith("-processor"):
        raise InputError(f"stack must not end in '-processor', like functions of other stacks, got {spec.stack!r}")
    if spec.arch not in ("x86_64", "arm64"):
        raise InputError(f"arch must be x86_64 or arm64, got {spec.arch!r}")
    if spec.runtime not in RUNTIMES:
        raise InputError(f"runtime must be one of {', '.join(RUNTIMES)}, got {spec.runtime!r}")
    least, most, longest = LIMITS.least_memory, LIMITS.most_memory, LIMITS.seconds
    if not least <= spec.memory <= most or not 1 <= spec.timeout <= longest or spec.shards < 1:
        got = f"{spec.memory}, {spec.timeout} and {spec.shards}"
        raise InputError(
            f"memory must be {least} to {most} MB, timeout 1 to {longest} s, and shards at least 1, got {got}"
        )
    if spec.http_concurrency is not None and (spec.http_concurrency < 1 or not spec.api_key_sha256):
        raise InputError(f"http_concurrency must be at least 1 and needs an API key, got {spec.http_concurrency}")
    if spec.changing is not None and spec.changing.write_key_sha256 and not spec.api_key_sha256:
        raise InputError("a write key requires an API key: the URL that takes changes also answers searches")
    invalid = [
        name for name in spec.variables if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", name) or name in OWN_VARIABLES
    ]
    if invalid:
        raise InputError(
            f"an environment variable must have a valid name that the stack does not set itself, got {invalid[0]!r}"
        )
    for key in (spec.kms_key, spec.overflow_kms_key):
        if key is not None and not re.fullmatch(_KEY, key):
            raise InputError(f"a key must be an ARN such as arn:aws:kms:region:account:key/name, got {key!r}")
    changing_code = spec.changing.code if spec.changing is not None else None
    for url in filter(None, (spec.index, spec.code, spec.overflow, changing_code)):
        Place.of(url)
