"""What moto's CloudFormation lacks: aliases, versions with a description, nested stacks that are deleted and updated.

On AWS a version is published after its function was changed, since it refers to it; moto adds resources before it changes
others, so a version here brings its function up to date first.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress

import pytest
from moto import mock_aws
from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import LambdaVersion
from moto.awslambda.utils import get_backend
from moto.cloudformation import parsing
from moto.cloudformation.models import cloudformation_backends
from moto.core.common_models import CloudFormationModel


class Version(LambdaVersion):
    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **facts):
        properties = cloudformation_json["Properties"]
        stack = cloudformation_backends[account_id][region_name].get_stack(facts["StackId"])
        resources = getattr(stack, "resource_map", None)
        for name, described in (resources._resource_json_map if resources else {}).items():
            if described["Properties"].get("FunctionName") == properties["FunctionName"] and "Code" in str(described):
                parsing.parse_and_update_resource(name, described, resources, account_id, region_name)
        backend = get_backend(account_id, region_name)
        found = backend.publish_version(properties["FunctionName"], properties.get("Description", ""))
        return cls({"Version": found.version})

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr == "Version"

    def get_cfn_attribute(self, _):
        return str(self.version)

    @property
    def physical_resource_id(self):
        return str(self.version)

    def delete(self, *_):
        """A version is retained."""


class Alias(CloudFormationModel):
    def __init__(self, function, name):
        self.function, self.name = function, name

    @staticmethod
    def cloudformation_type():
        return "AWS::Lambda::Alias"

    @property
    def physical_resource_id(self):
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.function}:{self.name}"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        given = cloudformation_json["Properties"]
        get_backend(account_id, region_name).create_alias(
            given["Name"], given["FunctionName"], str(given["FunctionVersion"]), "", None
        )
        return cls(given["FunctionName"], given["Name"])

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name
    ):
        given = cloudformation_json["Properties"]
        get_backend(account_id, region_name).update_alias(
            given["Name"], given["FunctionName"], str(given["FunctionVersion"]), "", None
        )
        return original_resource

    def delete(self, account_id, region_name):
        with suppress(UnknownFunctionException):  # moto deletes in any order
            get_backend(account_id, region_name).delete_alias(self.name, self.function)


class Url(CloudFormationModel):
    def __init__(self, function, url):
        self.function, self.url = function, url

    @staticmethod
    def cloudformation_type():
        return "AWS::Lambda::Url"

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr == "FunctionUrl"

    def get_cfn_attribute(self, _):
        return self.url

    @property
    def physical_resource_id(self):
        return self.url

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        given = cloudformation_json["Properties"]
        function = given["TargetFunctionArn"].removesuffix(":live").rpartition(":")[2]
        return cls(function, get_backend(account_id, region_name).create_function_url_config(function, given).url)

    def delete(self, account_id, region_name):
        """It goes with its function."""


@contextmanager
def account():
    """An empty account, whose functions answer nothing."""
    taught = {model.cloudformation_type(): model for model in (Version, Alias, Url)}
    real = parsing.resource_class_from_type
    with mock_aws(config={"lambda": {"use_docker": False}}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "resource_class_from_type", lambda name: taught.get(name) or real(name))
        yield
