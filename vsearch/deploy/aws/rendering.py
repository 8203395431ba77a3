"""Transformation of templates to plain CloudFormation."""

from __future__ import annotations

import json
from typing import Any

from vsearch.errors import MissingDependencyError


def transform(template: dict[str, Any], region: str = "us-east-1") -> dict[str, Any]:
    """Transform a template to plain CloudFormation, with AWS's own SAM translator.

    Raises
    ------
    MissingDependencyError
        aws-sam-translator is not installed.
    """
    try:
        import boto3
        from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
        from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError("this requires aws-sam-translator: pip install aws-sam-translator") from error
    session = boto3.Session(region_name=region)
    copied = json.loads(json.dumps(template))
    translated: dict[str, Any] = Translator({}, Parser(), None, session).translate(copied, {})
    return translated
