"""Permissions: the policy statements of the roles of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import LIVE, Names
from vsearch.storage.stores.urls import redacted, split_url

MOST_NAMED = 64
"""Up to this many processors are named one by one in a policy, since the policies of a role are limited to 10,240 characters."""

Statement = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Bucket and prefix of an ``s3://`` URL; the prefix is empty or ends in a slash."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Parse a URL.

        Raises
        ------
        InputError
            It is not an s3:// URL, or contains characters with a special meaning in policies.
        """
        parts = split_url(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise InputError(
                f"{redacted(url)!r} is not an s3:// URL; functions on AWS can read nothing else: copy the index there"
            )
        if set("*?${}#").intersection(url):
            raise InputError(
                f"{redacted(url)!r} contains one of * ? $ {{ }} #, which are special in policies; use another prefix"
            )
        path = parts.path.strip("/")
        return cls(parts.netloc, f"{path}/" if path else "")

    @property
    def key(self) -> str:
        """The prefix as an object key."""
        return self.prefix.rstrip("/")

    @property
    def url(self) -> str:
        """The URL, without a trailing slash."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def make_roles(
    names: Names,
    shards: int,
    index: Place,
    overflow: Place | None,
    log_group: str,
    *,
    writer: bool = False,
    keeper: bool = False,
) -> dict[str, Any]:
    """The roles as CloudFormation resources, for functions that share one log group.

    The template has the parameters KmsKey and OverflowKmsKey and the conditions HasKmsKey and HasOverflowKmsKey.
    """
    reads = [_allow("s3:GetObject", _objects(index, "*")), _decrypts("KmsKey", "kms:Decrypt")]
    if overflow:
        reads.append(_allow(["s3:GetObject", "s3:PutObject"], _objects(overflow, "messages/*")))
        reads.append(_decrypts("OverflowKmsKey", "kms:Decrypt", "kms:GenerateDataKey"))
    logs = _allow(["logs:CreateLogStream", "logs:PutLogEvents"], _arn("logs", f"log-group:{log_group}:*"))
    calls = _allow("lambda:InvokeFunction", *_called(names, shards))
    passes_on = [_allow("lambda:InvokeFunction", _alias(names.writer))] if writer else []
    roles = {
        "CoordinatorRole": _role([*reads, _lists(index, "manifest/*"), calls, *passes_on, logs]),
        "AllocatorRole": _role([*reads, calls, logs]),
        "ProcessorRole": _role([*reads, logs]),
    }
    writes = [
        *reads,
        _lists(index, "*"),
        _allow("s3:PutObject", _objects(index, "*")),
        _decrypts("KmsKey", "kms:GenerateDataKey"),
    ]
    if writer:
        roles["WriterRole"] = _role([*writes, logs])
    if keeper:
        removes = _allow(["s3:DeleteObject", "s3:AbortMultipartUpload"], _objects(index, "*"))
        roles["KeeperRole"] = _role([*writes, removes, logs])
    return roles


def _called(names: Names, shards: int) -> list[Any]:
    """Aliases of the allocator and of every processor: by name, or if there are many, by pattern per number of digits."""
    if shards <= MOST_NAMED:
        processors = [names.processor(shard) for shard in range(shards)]
    else:
        first = names.processor(0)
        processors = [f"{first[:-1]}{'?' * digits}" for digits in range(1, len(str(shards - 1)) + 1)]
    return [_alias(name) for name in (names.allocator, *processors)]


def _alias(function: str) -> dict[str, str]:
    return _arn("lambda", f"function:{function}:{LIVE}")


def _lists(index: Place, below: str) -> Statement:
    """Permission to list objects below a folder of the index: ``manifest/*`` to find the newest snapshot."""
    statement = _allow("s3:ListBucket", {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{index.bucket}"})
    return {**statement, "Condition": {"StringLike": {"s3:prefix": f"{index.prefix}{below}"}}}


def _decrypts(parameter: str, *actions: str) -> Statement:
    """Permission to use the key in a parameter, through S3 only; nothing if the parameter is empty."""
    statement = _allow(list(actions), {"Ref": parameter})
    through = {"StringEquals": {"kms:ViaService": {"Fn::Sub": "s3.${AWS::Region}.amazonaws.com"}}}
    return {"Fn::If": [f"Has{parameter}", {**statement, "Condition": through}, {"Ref": "AWS::NoValue"}]}


def _role(statements: list[Statement]) -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": statements}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "vsearch", "PolicyDocument": document}],
        },
    }


def _objects(place: Place, below: str) -> dict[str, str]:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{place.bucket}/{place.prefix}{below}"}


def _arn(service: str, resource: str) -> dict[str, str]:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}"}


def _allow(actions: str | list[str], *resources: Any) -> Statement:
    return {"Effect": "Allow", "Action": actions, "Resource": list(resources)}
