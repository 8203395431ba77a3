"""Advice for the errors of stores and of the operating system, in one table each."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vsearch.storage.stores.urls import without_secrets

_ROOM = "free some space, or choose a place with more"
_ANOTHER_FOLDER = "a part of the path is a file; pass the folder of the index"

OF_SYSTEM = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "the file system or ulimit -f does not allow files of this size; choose another place",
    errno.EROFS: "the file system is read-only; choose a writable folder",
    errno.EACCES: "check the owner and the permissions of the folder",
    errno.EPERM: "check the owner and the permissions of the folder",
    errno.EEXIST: _ANOTHER_FOLDER,
    errno.ENOTDIR: _ANOTHER_FOLDER,
    errno.EISDIR: "there is a folder in place of a file",
    errno.EMFILE: "this process has too many files open; raise its limit (ulimit -n) or open fewer indexes",
    errno.ENFILE: "the system has too many files open; close some",
    errno.ENAMETOOLONG: "the path is longer than the file system allows; choose a shorter one",
    errno.ENOMEM: "there is too little memory, or there are too many maps (vm.max_map_count)",
    errno.ESTALE: "the network file system lost the file; mount it again",
    errno.EIO: "the disk failed; check it",
    errno.ELOOP: "symbolic links form a loop; use another path",
}
"""Advice by error number; without an entry, `explain_system` says to check the disk."""


ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Error numbers that freeing space, or choosing another place, can fix."""


def explain_system(error: OSError) -> str:
    """Return the system's error message and advice on what to do."""
    message = error.strerror or str(error) or type(error).__name__
    return f"{message}; {OF_SYSTEM.get(error.errno or 0, 'check the disk')}"


Rules = tuple[tuple[str, str, str], ...]
"""Patterns of error codes and messages, what happened, and what to do; the first match applies."""

NO_BUCKET = r"NoSuchBucket|ContainerNotFound"
"""Error codes that the client library reports as a missing object."""

_OF_PLACES: Rules = (
    (r"NoSuchBucket", "there is no such bucket", "create it or correct the URL"),
    (r"InvalidBucketName", "the bucket's name is not valid", "correct the URL"),
    (r"AllAccessDisabled|AccountProblem", "the account or bucket is disabled", "ask the provider"),
    (
        r"RequestTimeTooSkewed|RequestExpired|request time and the current time is too",
        "access was denied",
        "this machine's clock is wrong: set it (NTP) and try again",
    ),
)

_OF_S3: Rules = (
    (
        r"ExpiredToken|TokenRefreshRequired|token (?:included in the request )?(?:has|is) expired",
        "access was denied",
        "the session token has expired: log in again (aws sso login) or ask for new keys",
    ),
    (
        r"InvalidToken",
        "access was denied",
        "the session token belongs to other keys: set AWS_SESSION_TOKEN to the one of these keys, or unset it",
    ),
    (r"InvalidAccessKeyId", "access was denied", "check the keys: this access key does not exist at this endpoint"),
    (
        r"SignatureDoesNotMatch",
        "access was denied",
        "check the keys: the secret key does not match the access key; check region and endpoint, too",
    ),
    (
        r"KMS\.\w+|\bkms:\w+|KMSKey|KMS key",
        "access was denied",
        "the bucket's encryption key may not be used: enable it, and allow kms:Decrypt and, for writing, kms:GenerateDataKey",
    ),
    (
        r"InvalidObjectState",
        "the object is archived (Glacier)",
        "restore it first (aws s3api restore-object), and exclude indexes from lifecycle rules that archive objects",
    ),
    (
        r"AuthorizationHeaderMalformed|IllegalLocationConstraint|redirect|\b30[127]\b (?:Moved|Found|Temporary|Perm)",
        "the bucket is in another region",
        "pass region= or set AWS_REGION",
    ),
    (
        r"NotImplemented|\b501\b",
        "the store lacks a feature of S3 that an index needs",
        "use a store with conditional writes (If-None-Match: *), range reads and listing",
    ),
)

_OF_GCS: Rules = (
    (
        r"invalid_grant|invalid_rapt|Invalid JWT|Token has been expired or revoked",
        "access was denied",
        "the credentials are no longer valid: log in again (gcloud auth application-default login) or create a key; check the clock",
    ),
    (
        r"AuthenticationRequired|InvalidAuthentication|Invalid Credentials|invalid_token",
        "access was denied",
        "the access token is invalid or has expired: get a new one, or use credentials that are renewed automatically",
    ),
    (
        r"UserProjectMissing",
        "the bucket is a requester-pays bucket",
        "vsearch cannot name a project to bill: copy the index to a bucket of your own",
    ),
    (
        r"\bKMS\b|cloudkms",
        "access was denied",
        "the bucket's encryption key may not be used: enable it, and grant the bucket's service agent the right to use it",
    ),
)

_OF_AZURE: Rules = (
    (r"ContainerNotFound", "there is no such container", "create it or correct the URL"),
    (r"InvalidResourceName", "the container's name is not valid", "correct the URL"),
    (r"AccountIsDisabled|ContainerDisabled", "the account or container is disabled", "ask the provider"),
    (r"ContainerBeingDeleted", "the container is being deleted", "wait until it is gone, or use another name"),
    (
        r"AuthenticationFailed|InvalidAuthenticationInfo|Signature did not match|Signature not valid",
        "access was denied",
        "the account key, token or shared access signature is wrong or has expired; check this machine's clock, too",
    ),
    (
        r"AuthorizationFailure|IpAuthorizationFailure|AuthorizationSourceIPMismatch",
        "access was denied",
        "this machine is blocked by the account's firewall, or by the address or protocol in the shared access signature",
    ),
    (
        r"KeyBasedAuthenticationNotPermitted",
        "access was denied",
        "the account does not accept account keys: use a bearer token or a managed identity",
    ),
    (
        r"PublicAccessNotPermitted|NoAuthenticationInformation",
        "access was denied",
        "the container is not public: pass credentials instead of anonymous",
    ),
    (
        r"BlobArchived|BlobBeingRehydrated|InvalidBlobTier",
        "the object is archived",
        "restore it to the hot or cool tier first, and exclude indexes from lifecycle rules that archive blobs",
    ),
    (r"BlobImmutableDueToPolicy|ImmutabilityPolicy", "the object is locked", "see the container's immutability policy"),
    (
        r"ServerBusy|OperationTimedOut|IngressIsOverAccountLimit|EgressIsOverAccountLimit",
        "the store asks for fewer requests",
        "try again later, or with fewer processes at once",
    ),
)

_OF_ANY: Rules = (
    (r"EntityTooLarge|MaxMessageLength", "the object is larger than the store allows", "build with more shards"),
    (r"QuotaExceeded|InsufficientStorage|XMinioStorageFull|\b507\b", "the store is full", "free some space"),
    (r"ObjectLock|\bWORM\b", "the object is locked", "see the bucket's object lock and retention"),
    (
        r"SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|ServiceUnavailable|\b429\b|\b503\b",
        "the store asks for fewer requests",
        "try again later, or with fewer processes at once",
    ),
    (r"\b407\b|[Pp]roxy", "a proxy refused the request", "check HTTPS_PROXY and NO_PROXY"),
    (
        r"[Cc]ertificate|UnknownIssuer|SSL",
        "the store's certificate is not trusted",
        "check the endpoint, or trust its certificate authority (SSL_CERT_FILE)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Wording for one provider of object stores, used in error messages.

    Attributes
    ----------
    bucket, example : str
        The provider's word for a bucket, and an example URL.
    ways : str
        How credentials are passed.
    allow_http : str
        Environment variable that allows plain HTTP.
    no_keys : str
        Message for missing credentials, with advice.
    keys : str
        Advice when access is denied.
    network : str
        Advice when the store cannot be reached.
    rights, hidden : mapping of str
        By action: the permission that it needs, and how the lack of another permission shows.
    rules : Rules
        Advice by error.
    """

    bucket: str = "bucket"
    example: str
    ways: str
    allow_http: str
    no_keys: str
    keys: str
    network: str = "check the endpoint and the network"
    rights: Mapping[str, str]
    hidden: Mapping[str, str] = field(default_factory=dict)
    rules: Rules


AWS = Provider(
    example="s3://bucket/prefix",
    ways="access_key_id= and secret_access_key=, the environment or a profile",
    allow_http="AWS_ALLOW_HTTP",
    no_keys="no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or anonymous",
    keys="check the keys (AWS_ACCESS_KEY_ID or profile)",
    rights={"read": "s3:GetObject", "list": "s3:ListBucket", "write": "s3:PutObject", "delete": "s3:DeleteObject"},
    hidden={
        "read": ", and without s3:ListBucket, S3 reports missing objects as access denied",
        "list": " on the bucket itself",
    },
    rules=_OF_PLACES + _OF_S3 + _OF_ANY,
)

GOOGLE = Provider(
    example="gs://bucket/prefix",
    ways="credentials_file=, service_account_key=, bearer_token= or the environment",
    allow_http="GOOGLE_ALLOW_HTTP",
    no_keys="no Google credentials were found; set GOOGLE_APPLICATION_CREDENTIALS, log in (gcloud auth "
    "application-default login), or pass credentials_file, bearer_token or anonymous",
    keys="check the credentials (GOOGLE_APPLICATION_CREDENTIALS or credentials_file)",
    rights={
        "read": "storage.objects.get",
        "list": "storage.objects.list",
        "write": "storage.objects.create",
        "delete": "storage.objects.delete",
    },
    hidden={"read": ", and without storage.objects.list, the store reports missing objects as access denied"},
    rules=_OF_PLACES + _OF_GCS + _OF_ANY,
)

AZURE = Provider(
    bucket="container",
    example="az://container/prefix",
    ways="account_key=, sas_token=, bearer_token= or the environment",
    allow_http="AZURE_ALLOW_HTTP",
    no_keys="no Azure credentials were found; set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or those of a service "
    "principal (AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID), or pass account_key, sas_token, bearer_token or "
    "anonymous",
    keys="check the credentials (AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_ID)",
    network="check the account's name, the endpoint and the network",
    rights={
        "read": "the role Storage Blob Data Reader, or r in a signature",
        "list": "the role Storage Blob Data Reader, or l in a signature",
        "write": "the role Storage Blob Data Contributor, or c and w in a signature",
        "delete": "the role Storage Blob Data Contributor, or d in a signature",
    },
    rules=_OF_PLACES + _OF_AZURE + _OF_ANY,
)

_METADATA = r"169\.254\.1|metadata\.google\.internal"
"""Addresses of the cloud's metadata services, the last place where credentials are looked up."""

_DENIED = r"AccessDenied|AccountProblem|AuthorizationPermissionMismatch|InsufficientAccountPermissions|\b403\b|\b401\b|Forbidden|Unauthori[sz]ed|denied"

_TRANSIENT = (
    r"SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|ServiceUnavailable|InternalError|RequestTimeout\b|"
    r"OperationAborted|\b429\b|\b408\b|\b50[0234]\b|Server Error|Bad Gateway|Gateway Time|error sending request|"
    r"connection (?:error|closed|reset)|timed out|error (?:reading|decoding)|incomplete ?message|reset by peer|broken pipe"
)
_UNREACHABLE = r"error sending request|error trying to connect|dns error"


def passes(text: str) -> bool:
    """Whether an error is transient: the store is busy or restarting, or a connection broke."""
    return re.search(_TRANSIENT, _without_urls(text), re.IGNORECASE) is not None


def unreachable(text: str) -> bool:
    """Whether the store could not be reached at all."""
    return re.search(_UNREACHABLE, text, re.IGNORECASE) is not None


def _without_urls(text: str) -> str:
    return re.sub(r"https?://[^\s)]+", "", text)


def explain_store(text: str, action: str, *, refused: bool = False, provider: Provider = AWS) -> str:
    """Describe an error in one line, with advice on what to do.

    Parameters
    ----------
    text
        The error message of the client library.
    action : {"read", "list", "write", "delete"}
        The action that failed.
    refused
        Whether the library classified the error as a lack of permission.
    provider
        The provider of the store.
    """
    if re.search(_METADATA, text):
        return provider.no_keys
    detail, text = _detail(text), _without_urls(text)
    nobody = unreachable(text)
    code = re.search("<Code>([^<]+)</Code>", text)
    # The code is the best evidence; the message around it may mention anything.
    sources = [text] if code is None else [code[1], text]
    if re.search(r"\bkms:", text, re.IGNORECASE):
        sources.reverse()  # a plain AccessDenied whose message names the permission
    for source in sources:
        for pattern, what, advice in () if nobody and "ertificate" not in source else provider.rules:
            if re.search(pattern, source, re.IGNORECASE):
                return f"{what} ({detail}); {advice}"
        if re.search(_DENIED, source) or refused:
            rights = f"this needs {provider.rights[action]}{provider.hidden.get(action, '')}"
            return f"access was denied ({detail}); {provider.keys}: {rights}"
    if nobody:
        return f"the store cannot be reached ({detail}); {provider.network}"
    return f"the store failed ({detail}); try again"


def _detail(text: str, limit: int = 200) -> str:
    """Return the store's own error code and message if there are any, else the library's message, shortened."""
    code = re.search("<Code>([^<]+)</Code>", text)
    message = re.search("<Message>([^<]+)</Message>", text)
    if code:
        text = f"{code[1]}: {message[1]}" if message else code[1]
    line = without_secrets(" ".join(text.rsplit(" - ", 1)[-1].split())).rstrip(":.")
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
