"""Which key encrypts a bucket, so that roles may be let use it and no other."""

from __future__ import annotations

from typing import Any

from vsearch.errors import StoreError


def encryption_key(bucket: str, session: Any) -> str | None:
    """ARN of the customer's key that encrypts what is put into a bucket.

    Returns
    -------
    str or None
        None where S3 uses a key of its own, for which a role needs no right.

    Raises
    ------
    StoreError
        The bucket or its key cannot be looked at; the key may be given by hand.
    """
    client = session.client("s3")
    try:
        rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    except client.exceptions.ClientError as error:
        if "ServerSideEncryptionConfigurationNotFound" in str(error):
            return None
        raise StoreError(f"the encryption of the bucket {bucket} cannot be read; give --kms-key: {error}") from None
    for rule in rules:
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        if str(default.get("SSEAlgorithm", "")).startswith("aws:kms") and default.get("KMSMasterKeyID"):
            return _arn(default["KMSMasterKeyID"], session)
    return None


def _arn(key: str, session: Any) -> str | None:
    client = session.client("kms")
    try:
        found = client.describe_key(KeyId=key)["KeyMetadata"]
    except client.exceptions.ClientError as error:
        raise StoreError(f"the key {key} cannot be looked at; give --kms-key with its ARN: {error}") from None
    return None if found.get("KeyManager") == "AWS" else str(found["Arn"])
