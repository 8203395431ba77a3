"""The SAM template of a stack: one function per shard, three roles that may do what they must and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vsearch.errors import InputError
from vsearch.fanout.invokers import Names

RUNTIME = "python3.13"
LARGEST_RESOURCES = 500
"""Of one CloudFormation stack."""

_STACK = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,39}")


@dataclass(frozen=True)
class StackSpec:
    """What is deployed.

    Attributes
    ----------
    stack : str
        What its functions are named after.
    index : str
        ``s3://bucket/prefix``.
    shards : int
    code : str
        ``s3://bucket/key`` of the package; the key holds the package's digest, so that other code is another version.
    memory : int
        MB of each function.
    timeout : int
        Seconds of each function.
    arch : {"x86_64", "arm64"}
    kms_key : str, optional
        Key of the index's bucket.
    overflow : str, optional
        ``s3://bucket/prefix`` for messages over the platform's limit; give the bucket a rule that expires them.
    api_key_sha256 : str, optional
        With it the stack has a function URL that answers JSON.
    snap_start : bool
        Start functions from a snapshot of their memory.
    """

    stack: str
    index: str
    shards: int
    code: str
    memory: int = 1769
    timeout: int = 60
    arch: str = "x86_64"
    kms_key: str | None = None
    overflow: str | None = None
    api_key_sha256: str | None = None
    snap_start: bool = False
    tags: dict[str, str] = field(default_factory=dict)


def make_template(spec: StackSpec) -> dict[str, Any]:
    """The template, as plain data.

    Raises
    ------
    InputError
        The stack's name, an URL or a size is not usable.
    """
    _check(spec)
    names = Names(spec.stack)
    processors = [names.processor(shard) for shard in range(spec.shards)]
    variables = {"VSEARCH_INDEX": spec.index, "VSEARCH_STACK": spec.stack}
    if spec.overflow:
        variables["VSEARCH_OVERFLOW"] = spec.overflow
    called = [_function_arn(names.allocator), *map(_function_arn, processors)]
    reads, lists = _reads(spec), _lists(spec.index)
    resources: dict[str, Any] = {
        "CoordinatorRole": _role([*reads, lists, _invokes(called), _logs(f"{spec.stack}-*")]),
        "AllocatorRole": _role([*reads, _invokes(called), _logs(names.allocator)]),
        "ProcessorRole": _role([*reads, _logs(f"{spec.stack}-processor-*")]),
        "Coordinator": _function(names.coordinator, "coordinator", "CoordinatorRole", variables),
        "Allocator": _function(names.allocator, "allocator", "AllocatorRole", variables),
    }
    for shard, name in enumerate(processors):
        resources[f"Processor{shard}"] = _function(name, "processor", "ProcessorRole", variables)
    outputs: dict[str, Any] = {"Coordinator": {"Value": {"Ref": "Coordinator"}}}
    if spec.api_key_sha256:
        keyed = {**variables, "VSEARCH_API_KEY_SHA256": spec.api_key_sha256}
        resources["Http"] = _function(f"{spec.stack}-http", "http", "CoordinatorRole", keyed)
        resources["Http"]["Properties"]["FunctionUrlConfig"] = {"AuthType": "NONE"}
        outputs["Url"] = {"Value": {"Fn::GetAtt": ["HttpUrl", "FunctionUrl"]}}
    if len(resources) > LARGEST_RESOURCES - 20:
        raise InputError(
            f"{spec.shards} shards do not fit one stack of {LARGEST_RESOURCES} resources; build fewer shards"
        )
    shared: dict[str, Any] = {
        "Runtime": RUNTIME,
        "Architectures": [spec.arch],
        "CodeUri": spec.code,
        "MemorySize": spec.memory,
        "Timeout": spec.timeout,
        "Tags": {"vsearch": spec.stack, **spec.tags},
    }
    if spec.snap_start:
        shared |= {"SnapStart": {"ApplyOn": "PublishedVersions"}, "AutoPublishAlias": "live"}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": f"vsearch: {spec.shards} shards of {spec.index}",
        "Globals": {"Function": shared},
        "Resources": resources,
        "Outputs": outputs,
    }


def render(template: dict[str, Any]) -> str:
    """The template as text; JSON, which is YAML too."""
    return json.dumps(template, indent=2) + "\n"


def transform(template: dict[str, Any], region: str = "us-east-1") -> dict[str, Any]:
    """What AWS makes of the template: plain CloudFormation, by AWS's own translator run here.

    Raises
    ------
    MissingDependencyError
        aws-sam-translator is not installed.
    """
    from vsearch.errors import MissingDependencyError

    try:
        import boto3
        from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
        from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError("this needs aws-sam-translator: pip install aws-sam-translator") from error
    session = boto3.Session(region_name=region)
    copied = json.loads(json.dumps(template))
    translated: dict[str, Any] = Translator({}, Parser(), None, session).translate(copied, {})
    return translated


def _check(spec: StackSpec) -> None:
    if not _STACK.fullmatch(spec.stack):
        raise InputError(f"stack={spec.stack!r} is not usable: letters, digits and -, at most 40, a letter first")
    if spec.arch not in ("x86_64", "arm64"):
        raise InputError(f"arch={spec.arch!r} is not usable: give x86_64 or arm64")
    if not 128 <= spec.memory <= 10_240 or not 1 <= spec.timeout <= 900 or spec.shards < 1:
        raise InputError("give a memory of 128 to 10240 MB, a timeout of 1 to 900 s and at least one shard")
    for url in (spec.index, spec.code, *([spec.overflow] if spec.overflow else [])):
        _bucket_of(url)


def _bucket_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError(f"{url!r} is no s3:// URL; functions can read nothing else")
    return parts.netloc, parts.path.strip("/")


def _function(name: str, handler: str, role: str, variables: dict[str, str]) -> dict[str, Any]:
    return {
        "Type": "AWS::Serverless::Function",
        "Properties": {
            "FunctionName": name,
            "Handler": f"functions.{handler}.handler",
            "Role": {"Fn::GetAtt": [role, "Arn"]},
            "Environment": {"Variables": variables},
        },
    }


def _role(statements: list[dict[str, Any]]) -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": statements}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "vsearch", "PolicyDocument": document}],
        },
    }


def _reads(spec: StackSpec) -> list[dict[str, Any]]:
    bucket, prefix = _bucket_of(spec.index)
    below = f"{bucket}/{prefix}/*" if prefix else f"{bucket}/*"
    statements = [_allow("s3:GetObject", [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{below}"}])]
    if spec.overflow:
        bucket, prefix = _bucket_of(spec.overflow)
        messages = f"{bucket}/{prefix}/messages/*" if prefix else f"{bucket}/messages/*"
        resource = [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{messages}"}]
        statements.append(_allow(["s3:GetObject", "s3:PutObject"], resource))
    if spec.kms_key:
        actions: str | list[str] = ["kms:Decrypt", "kms:GenerateDataKey"] if spec.overflow else "kms:Decrypt"
        statements.append(_allow(actions, [spec.kms_key]))
    return statements


def _lists(index: str) -> dict[str, Any]:
    """Finding the newest snapshot."""
    bucket, prefix = _bucket_of(index)
    statement = _allow("s3:ListBucket", [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}"}])
    return {**statement, "Condition": {"StringLike": {"s3:prefix": f"{prefix}/manifest/*" if prefix else "manifest/*"}}}


def _invokes(functions: list[dict[str, str]]) -> dict[str, Any]:
    return _allow("lambda:InvokeFunction", functions)


def _logs(name: str) -> dict[str, Any]:
    group = f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:/aws/lambda/{name}:*"
    return _allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], [{"Fn::Sub": group}])


def _function_arn(name: str) -> dict[str, str]:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:{name}"}


def _allow(actions: str | list[str], resources: list[Any]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
