"""A Terraform module of a stack, translated from its templates, so that functions and permissions are described once."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsearch.deploy.aws.roles import Place
from vsearch.deploy.aws.template import StackSpec, make_templates
from vsearch.deploy.packages import Package
from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import LIVE, Names

FILE = "main.tf.json"
MARK = "Written by `vsearch deploy --platform terraform`; written again by the same command."
TERRAFORM = ">= 1.5"
PROVIDER = ">= 5.60"
"""Version of hashicorp/aws; the first ones lack log groups and SnapStart of functions in Python."""

LONGEST_PREFIX = 38
"""Maximum number of characters of the prefix of a role's name; the provider adds 26."""

_PSEUDO = {
    "AWS::Partition": "${data.aws_partition.current.partition}",
    "AWS::Region": "${data.aws_region.current.id}",
    "AWS::AccountId": "${data.aws_caller_identity.current.account_id}",
    "AWS::URLSuffix": "${data.aws_partition.current.dns_suffix}",
}
_PROCESSOR = re.compile(r"Processors?[0-9]+")

Body = dict[str, Any]


def make_module(spec: StackSpec, files: Mapping[str, str], region: str | None = None) -> Body:
    """Build the module, in Terraform's JSON syntax.

    Parameters
    ----------
    spec : StackSpec
    files : mapping
        Names of the packages' files in the module's folder by their URLs.
    region : str, optional
        Region of the module's provider; without one, the caller configures the provider.

    Raises
    ------
    InputError
        The stack's name, a URL or a size is invalid.
    """
    root = make_templates(spec).root
    resources = root["Resources"]
    blocks: dict[str, dict[str, Body]] = {
        "aws_s3_object": {_package(url, spec): _object(url, files[url]) for url in files}
    }
    blocks["aws_cloudwatch_log_group"] = {"logs": _log_group(resources["Logs"]["Properties"])}
    for name, resource in resources.items():
        if resource["Type"] == "AWS::IAM::Role":
            _add(blocks, _role(_snake(name), spec, resource["Properties"]))
        elif resource["Type"] == "AWS::Serverless::Function" and not _PROCESSOR.fullmatch(name):
            _add(blocks, _function(_snake(name), spec, root, resource["Properties"]))
    first = Names(spec.stack).processor(0)
    processor = {
        "FunctionName": first,
        "Handler": "functions.processor.handler",
        "Role": {"Fn::GetAtt": ["ProcessorRole", "Arn"]},
        "VersionDescription": resources["Coordinator"]["Properties"]["VersionDescription"],
    }
    _add(blocks, _function("processor", spec, root, processor))
    blocks["aws_lambda_function"]["processor"] |= {
        "count": spec.shards,
        "function_name": f"{first[:-1]}${{count.index}}",
    }
    blocks["aws_lambda_alias"]["processor"] |= {
        "count": spec.shards,
        "function_name": "${aws_lambda_function.processor[count.index].function_name}",
        "function_version": "${aws_lambda_function.processor[count.index].version}",
    }
    module: Body = {
        "//": MARK,
        "terraform": {
            "required_version": TERRAFORM,
            "required_providers": {"aws": {"source": "hashicorp/aws", "version": PROVIDER}},
        },
        "data": {
            "aws_partition": {"current": {}},
            "aws_region": {"current": {}},
            "aws_caller_identity": {"current": {}},
        },
        "resource": blocks,
        "output": {"stack": {"value": spec.stack}, "release": {"value": root["Outputs"]["Release"]["Value"]}},
    }
    if region is not None:
        module["provider"] = {"aws": {"region": _literal(region)}}
    if "Http" in resources:
        module["output"]["url"] = {"value": "${aws_lambda_function_url.http.function_url}"}
    return module


def write_module(
    spec: StackSpec, packages: Mapping[str, Package], folder: Path, region: str | None = None
) -> list[str]:
    """Write the module and its packages; return the commands that apply it.

    Other files of the folder are kept, such as the state, or a backend.

    Raises
    ------
    InputError
        The folder has a file of this name that was not written by this function, or is not a folder.
    """
    files = dict(zip(packages, ("vsearch.zip", "vsearch-changes.zip"), strict=False))
    module = make_module(spec, files, region)
    path = folder / FILE
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder; pass a new one, or one that this command wrote")
    if path.exists() and not _is_ours(path):
        raise InputError(f"{path} was not written by vsearch and is left unchanged; pass another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for url, name in files.items():
        shutil.copyfile(packages[url].path, folder / name)
    path.write_text(json.dumps(module, indent=2) + "\n", encoding="utf-8")
    import shlex

    chosen = shlex.quote(f"-chdir={folder}")
    return [f"terraform {chosen} init", f"terraform {chosen} apply"]


def _is_ours(path: Path) -> bool:
    try:
        module = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(module, dict) and module.get("//") == MARK


def _add(blocks: dict[str, dict[str, Body]], resources: dict[str, dict[str, Body]]) -> None:
    for kind, named in resources.items():
        blocks.setdefault(kind, {}).update(named)


def _object(url: str, file: str) -> Body:
    place = Place.of(url)
    body = {"bucket": place.bucket, "key": place.key, "source": f"${{path.module}}/{file}"}
    return body | {"lifecycle": {"create_before_destroy": True}}


def _package(url: str, spec: StackSpec) -> str:
    return "package" if url == spec.code else "package_of_changes"


def _log_group(properties: Body) -> Body:
    return {"name": properties["LogGroupName"], "retention_in_days": properties["RetentionInDays"]}


def _role(name: str, spec: StackSpec, properties: Body) -> dict[str, dict[str, Body]]:
    keys = {"KmsKey": spec.kms_key, "OverflowKmsKey": spec.overflow_kms_key}
    (policy,) = properties["Policies"]
    part = name.removesuffix("_role")
    prefix = f"{spec.stack[: LONGEST_PREFIX - len(part) - 2]}-{part}-"
    role = {"name_prefix": prefix, "assume_role_policy": _json(properties["AssumeRolePolicyDocument"], keys)}
    rights = {
        "name": policy["PolicyName"],
        "role": f"${{aws_iam_role.{name}.id}}",
        "policy": _json(policy["PolicyDocument"], keys),
    }
    return {"aws_iam_role": {name: role}, "aws_iam_role_policy": {name: rights}}


def _function(name: str, spec: StackSpec, root: Body, properties: Body) -> dict[str, dict[str, Body]]:
    """A function, its alias, and its URL and schedule if it has them."""
    shared = root["Globals"]["Function"]
    merged = shared | properties
    role = _snake(merged["Role"]["Fn::GetAtt"][0])
    variables = shared["Environment"]["Variables"] | properties.get("Environment", {}).get("Variables", {})
    package = f"aws_s3_object.{_package(merged['CodeUri'], spec)}"
    function: Body = {
        "function_name": merged["FunctionName"],
        "description": merged["VersionDescription"],
        "handler": merged["Handler"],
        "role": f"${{aws_iam_role.{role}.arn}}",
        "runtime": merged["Runtime"],
        "architectures": merged["Architectures"],
        "s3_bucket": f"${{{package}.bucket}}",
        "s3_key": f"${{{package}.key}}",
        "memory_size": merged["MemorySize"],
        "timeout": merged["Timeout"],
        "environment": {"variables": {key: _literal(value) for key, value in variables.items()}},
        "logging_config": {"log_format": "Text", "log_group": "${aws_cloudwatch_log_group.logs.name}"},
        "tags": {_literal(key): _literal(value) for key, value in merged["Tags"].items()},
        "publish": True,
        "depends_on": [f"aws_iam_role_policy.{role}"],
    }
    if "SnapStart" in merged:
        function["snap_start"] = {"apply_on": merged["SnapStart"]["ApplyOn"]}
    if "ReservedConcurrentExecutions" in merged:
        function["reserved_concurrent_executions"] = merged["ReservedConcurrentExecutions"]
    alias = {"name": LIVE, **_called(name), "function_version": f"${{aws_lambda_function.{name}.version}}"}
    blocks: dict[str, dict[str, Body]] = {"aws_lambda_function": {name: function}, "aws_lambda_alias": {name: alias}}
    if "FunctionUrlConfig" in merged:
        _add(blocks, _url(name, merged["FunctionUrlConfig"]["AuthType"]))
    for event in merged.get("Events", {}).values():
        _add(blocks, _schedule(name, event["Properties"]["Schedule"]))
    return blocks


def _called(name: str) -> Body:
    return {"function_name": f"${{aws_lambda_function.{name}.function_name}}"}


def _of_alias(name: str) -> Body:
    return _called(name) | {"qualifier": f"${{aws_lambda_alias.{name}.name}}"}


def _url(name: str, auth: str) -> dict[str, dict[str, Body]]:
    """The URL of a function and the two permissions that its callers need.

    Providers of version 5 do not know the condition of the second one, so that CloudFormation adds it.
    """
    anyone = {"Principal": "*", "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}
    permission = {
        "Type": "AWS::Lambda::Permission",
        "Properties": anyone | {"FunctionName": f"${{aws_lambda_alias.{name}.arn}}"},
    }
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Invoke": permission}}
    return {
        "aws_lambda_function_url": {name: {**_of_alias(name), "authorization_type": auth}},
        "aws_lambda_permission": {
            name: {
                **_of_alias(name),
                "action": "lambda:InvokeFunctionUrl",
                "principal": "*",
                "function_url_auth_type": auth,
            }
        },
        "aws_cloudformation_stack": {
            name: {"name": f"${{aws_lambda_function.{name}.function_name}}-url", "template_body": json.dumps(template)}
        },
    }


def _schedule(name: str, expression: str) -> dict[str, dict[str, Body]]:
    rule = f"aws_cloudwatch_event_rule.{name}"
    return {
        "aws_cloudwatch_event_rule": {
            name: {"name": f"${{aws_lambda_function.{name}.function_name}}", "schedule_expression": expression}
        },
        "aws_cloudwatch_event_target": {
            name: {"rule": f"${{{rule}.name}}", "arn": f"${{aws_lambda_alias.{name}.arn}}"}
        },
        "aws_lambda_permission": {
            name: {
                **_of_alias(name),
                "action": "lambda:InvokeFunction",
                "principal": "events.amazonaws.com",
                "source_arn": f"${{{rule}.arn}}",
            }
        },
    }


def _json(document: Any, keys: Mapping[str, str | None]) -> str:
    """A policy as the text of a resource."""
    return json.dumps(_resolved(document, keys))


def _resolved(value: Any, keys: Mapping[str, str | None]) -> Any:
    """Replace the functions of CloudFormation by expressions of Terraform. Statements about keys that are not set are left out."""
    if isinstance(value, list):
        return [_resolved(item, keys) for item in value if not _left_out(item, keys)]
    if not isinstance(value, dict):
        return _literal(value) if isinstance(value, str) else value
    match value:
        case {"Fn::If": [_, chosen, _]}:
            return _resolved(chosen, keys)
        case {"Ref": str(name)}:
            return keys[name]
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]*)\}", lambda match: _PSEUDO[match[1]], text)
    return {name: _resolved(item, keys) for name, item in value.items()}


def _left_out(item: Any, keys: Mapping[str, str | None]) -> bool:
    return isinstance(item, dict) and "Fn::If" in item and keys[item["Fn::If"][0].removeprefix("Has")] is None


def _literal(text: str) -> str:
    """A text that Terraform does not interpolate."""
    return re.sub(r"([$%])\{", r"\1\1{", text)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
