"""Lookup of the key that encrypts a bucket, so that roles can be granted the use of this key only."""

from __future__ import annotations

from typing import Any

from vsearch.errors import StoreError


def encryption_key(bucket: str, session: Any) -> str | None:
    """ARN of the customer managed key that encrypts objects in a bucket by default.

    Returns
    -------
    str or None
        None if S3 uses its own key, for which a role needs no permission.

    Raises
    ------
    StoreError
        The encryption settings cannot be read; the key can be passed explicitly.
    """
    client = session.client("s3")
    try:
        rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    except client.exceptions.ClientError as error:
        if "ServerSideEncryptionConfigurationNotFound" in str(error):
            return None
        raise StoreError(
            f"the encryption settings of the bucket {bucket} cannot be read; pass --kms-key: {error}"
        ) from None
    for rule in rules:
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        if str(default.get("SSEAlgorithm", "")).startswith("aws:kms") and default.get("KMSMasterKeyID"):
            return _arn(default["KMSMasterKeyID"], session)
    return None


def _arn(key: str, session: Any) -> str | None:
    client = session.client("kms")
    try:
        metadata = client.describe_key(KeyId=key)["KeyMetadata"]
    except client.exceptions.ClientError as error:
        raise StoreError(f"the key {key} cannot be described; pass --kms-key with its ARN: {error}") from None
    return None if metadata.get("KeyManager") == "AWS" else str(metadata["Arn"])
