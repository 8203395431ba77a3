"""What a template's roles may do: intrinsic functions resolved, every (action, resource) listed, a request decided."""

from __future__ import annotations

import re
from typing import Any

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}


def resolve(value: Any, template: dict[str, Any], parameters: dict[str, str]) -> Any:
    """The value without Ref, Fn::Sub, Fn::If, Fn::Not and Fn::Equals."""

    def here(one):
        return resolve(one, template, parameters)

    if isinstance(value, list):
        return [one for one in map(here, value) if one is not None]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, given),) = value.items()
        if name == "Ref":
            return parameters[given] if given in parameters else PSEUDO[given]
        if name == "Fn::Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(here({"Ref": found[1]})), given)
        if name == "Fn::If":
            return here(given[1 if here(template["Conditions"][given[0]]) else 2])
        if name == "Fn::Not":
            return not here(given[0])
        if name == "Fn::Equals":
            return here(given[0]) == here(given[1])
    return {name: here(one) for name, one in value.items()}


def statements(template, role, parameters=None):
    """Statements of a role, resolved."""
    given = {name: each["Default"] for name, each in template["Parameters"].items()} | (parameters or {})
    properties = resolve(template["Resources"][role]["Properties"], template, given)
    assert set(properties) == {"AssumeRolePolicyDocument", "Policies"}  # no managed policies, no boundary
    trust = properties["AssumeRolePolicyDocument"]["Statement"]
    assert [each["Principal"] for each in trust] == [{"Service": "lambda.amazonaws.com"}]
    return [one for policy in properties["Policies"] for one in policy["PolicyDocument"]["Statement"]]


def allowed(template, role, parameters=None):
    """Every (action, resource) that a role may."""
    pairs = set()
    for statement in statements(template, role, parameters):
        assert statement["Effect"] == "Allow"
        assert {"NotAction", "NotResource"}.isdisjoint(statement)
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        pairs |= {(action, resource) for action in actions for resource in statement["Resource"]}
    assert not any("*" in action for action, _ in pairs)
    return pairs


def may(template, role, action, resource, **conditions):
    """Whether IAM would let a role do it: conditions are the keys of the request's context."""
    for statement in statements(template, role):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if action in actions and any(_matches(pattern, resource) for pattern in statement["Resource"]):
            wanted = [pair for test in statement.get("Condition", {}).values() for pair in test.items()]
            if all(_matches(pattern, conditions.get(key.split(":")[1], "")) for key, pattern in wanted):
                return True
    return False


def _matches(pattern, text):
    translated = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern)
    return re.fullmatch(translated, text) is not None
