"""What stores and systems say when they refuse, and the advice that helps: one table each."""

from __future__ import annotations

import errno
import re

from vsearch.storage.stores.urls import without_secrets

NO_KEYS = "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or anonymous"

_ROOM = "free some space, or choose a place with more of it"
_ANOTHER_FOLDER = "a part of the path is a file; give the folder of the index"

OF_SYSTEM = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "the file system, or ulimit -f, allows no file of this size; choose another place",
    errno.EROFS: "the file system is read-only; choose a folder that can be written",
    errno.EACCES: "check who owns the folder and what its mode allows",
    errno.EPERM: "check who owns the folder and what its mode allows",
    errno.EEXIST: _ANOTHER_FOLDER,
    errno.ENOTDIR: _ANOTHER_FOLDER,
    errno.EISDIR: "a folder is where a file should be",
    errno.EMFILE: "this process has too many files open; raise its limit (ulimit -n) or open fewer indexes",
    errno.ENFILE: "the system has too many files open; close some",
    errno.ENAMETOOLONG: "the path is longer than the file system allows; choose a shorter one",
    errno.ENOMEM: "too little memory, or too many maps (vm.max_map_count)",
    errno.ESTALE: "the network file system lost the file; mount it again",
    errno.EIO: "the disk failed; check it",
    errno.ELOOP: "links lead in a circle; give another path",
}
"""Advice by error number; `explain_system` falls back to a look at the disk."""


ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Numbers of errors that more room, or another place, helps against."""


def explain_system(error: OSError) -> str:
    """What the system said, and what to do about it."""
    said = error.strerror or str(error) or type(error).__name__
    return f"{said}; {OF_SYSTEM.get(error.errno or 0, 'check the disk')}"


OF_STORE: tuple[tuple[str, str, str], ...] = (
    (r"NoSuchBucket", "there is no such bucket", "create it or correct the URL"),
    (r"InvalidBucketName", "the bucket's name is not valid", "correct the URL"),
    (r"AllAccessDisabled|AccountProblem", "the account or bucket is disabled", "ask the provider"),
    (
        r"RequestTimeTooSkewed|RequestExpired|request time and the current time is too",
        "access was denied",
        "this machine's clock is wrong: set it (NTP) and try again",
    ),
    (
        r"ExpiredToken|TokenRefreshRequired|token (?:included in the request )?(?:has|is) expired",
        "access was denied",
        "the session token has expired: log in again (aws sso login) or ask for new keys",
    ),
    (
        r"InvalidToken",
        "access was denied",
        "the session token belongs to other keys: give AWS_SESSION_TOKEN with its own keys, or unset it",
    ),
    (r"InvalidAccessKeyId", "access was denied", "check the keys: nobody has this access key at this endpoint"),
    (
        r"SignatureDoesNotMatch",
        "access was denied",
        "check the keys: the secret key does not fit the access key; check region and endpoint, too",
    ),
    (
        r"KMS\.\w+|\bkms:\w+|KMSKey|KMS key",
        "access was denied",
        "the bucket's encryption key may not be used: enable it, and allow kms:Decrypt and, to write, kms:GenerateDataKey",
    ),
    (
        r"InvalidObjectState",
        "the object is archived (Glacier)",
        "restore it first (aws s3api restore-object), and let no lifecycle rule archive an index",
    ),
    (
        r"AuthorizationHeaderMalformed|IllegalLocationConstraint|redirect|\b30[127]\b (?:Moved|Found|Temporary|Perm)",
        "the bucket is in another region",
        "give region= or set AWS_REGION",
    ),
    (
        r"NotImplemented|\b501\b",
        "the store lacks a part of S3 that an index needs",
        "conditional writes (If-None-Match: *), ranges and listing: use a store that has them",
    ),
    (r"EntityTooLarge|MaxMessageLength", "the object is larger than the store allows", "build with more shards"),
    (r"QuotaExceeded|InsufficientStorage|XMinioStorageFull|\b507\b", "the store is full", "free some space"),
    (r"ObjectLock|\bWORM\b", "the object is locked", "see the bucket's object lock and retention"),
    (
        r"SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|ServiceUnavailable|\b429\b|\b503\b",
        "the store asks for fewer requests",
        "try again later, or with fewer processes at once",
    ),
    (r"\b407\b|[Pp]roxy", "a proxy refused", "check HTTPS_PROXY and NO_PROXY"),
    (
        r"[Cc]ertificate|UnknownIssuer|SSL",
        "the store's certificate is not trusted",
        "check the endpoint, or trust its authority (SSL_CERT_FILE)",
    ),
)
"""Patterns of codes and words, what happened, and what to do: the first that matches counts."""

_DENIED = r"AccessDenied|AccountProblem|\b403\b|\b401\b|Forbidden|Unauthori[sz]ed|denied"

_TRANSIENT = (
    r"SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|ServiceUnavailable|InternalError|RequestTimeout\b|"
    r"OperationAborted|\b429\b|\b408\b|\b50[0234]\b|Server Error|Bad Gateway|Gateway Time|error sending request|"
    r"connection (?:error|closed|reset)|timed out|error (?:reading|decoding)|incomplete ?message|reset by peer|broken pipe"
)
_UNREACHABLE = r"error sending request|error trying to connect|dns error"


def passes(text: str) -> bool:
    """Whether an error may pass by itself: the store is busy or restarts, or a connection broke."""
    return re.search(_TRANSIENT, _without_urls(text), re.IGNORECASE) is not None


def unreachable(text: str) -> bool:
    """Whether nobody answered at all."""
    return re.search(_UNREACHABLE, text, re.IGNORECASE) is not None


def _without_urls(text: str) -> str:
    return re.sub(r"https?://[^\s)]+", "", text)


def explain_store(text: str, action: str, *, refused: bool = False) -> str:
    """Say in one line what went wrong and what to do about it.

    Parameters
    ----------
    text
        What the client library said.
    action : {"read", "list", "write", "delete"}
        What was asked of the store.
    refused
        Whether the library knows it for a lack of rights.
    """
    if "169.254.1" in text:  # where a machine inside AWS would be given keys, the last place that is asked
        return NO_KEYS
    detail, text = _detail(text), _without_urls(text)
    nobody = unreachable(text)
    code = re.search("<Code>([^<]+)</Code>", text)
    # The code says it best; the words around it may speak of anything.
    told = [text] if code is None else [code[1], text]
    if re.search(r"\bkms:", text, re.IGNORECASE):
        told.reverse()  # a plain AccessDenied whose words name the right
    for said in told:
        for pattern, what, advice in () if nobody and "ertificate" not in said else OF_STORE:
            if re.search(pattern, said, re.IGNORECASE):
                return f"{what} ({detail}); {advice}"
        if re.search(_DENIED, said) or refused:
            rights = f"this takes {RIGHTS[action]}{_HIDDEN.get(action, '')}"
            return f"access was denied ({detail}); check the keys (AWS_ACCESS_KEY_ID or profile): {rights}"
    if nobody:
        return f"the store cannot be reached ({detail}); check the endpoint and the network"
    return f"the store failed ({detail}); try again"


RIGHTS = {"read": "s3:GetObject", "list": "s3:ListBucket", "write": "s3:PutObject", "delete": "s3:DeleteObject"}

_HIDDEN = {
    "read": ", and without s3:ListBucket S3 denies what is not there, too",
    "list": " on the bucket itself",
}


def _detail(text: str, limit: int = 200) -> str:
    """The store's own error code and message where it gave them, else what the library said, shortened."""
    code = re.search("<Code>([^<]+)</Code>", text)
    message = re.search("<Message>([^<]+)</Message>", text)
    if code:
        text = f"{code[1]}: {message[1]}" if message else code[1]
    line = without_secrets(" ".join(text.rsplit(" - ", 1)[-1].split())).rstrip(":.")
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
