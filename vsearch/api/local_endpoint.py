"""Where the local FaaS of this user is: its address in a small file, which `vsearch faas up` writes.

Whoever can write that file is sent the searches of this user, and the token beside the address lets run any code. So
the folder must be the user's own.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

from vsearch.errors import InputError

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def state_file() -> Path:
    """The file: ``VSEARCH_FAAS_STATE``, or one place for each user."""
    named = os.environ.get("VSEARCH_FAAS_STATE")
    return Path(named) if named else Path(gettempdir()) / f"vsearch-faas-{os.getuid()}" / "state.json"


def own_folder(*, make: bool = False) -> Path:
    """The folder of the state, made for this user alone where it is not there and `make` asks for it.

    Raises
    ------
    InputError
        The folder is a link, another user's, or others may write into it.
    """
    folder = state_file().parent
    if make:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return folder
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; let VSEARCH_FAAS_STATE name a file elsewhere") from None
    if stat.S_ISLNK(found.st_mode):
        wrong = "is a link"
    elif not stat.S_ISDIR(found.st_mode):
        wrong = "is no folder"
    elif found.st_uid != os.getuid():
        wrong = "belongs to another user"
    elif found.st_mode & OTHERS_WRITE:
        wrong = "is a folder that others may write into"
    else:
        return folder
    raise InputError(f"{folder}: {wrong}; remove it, or let VSEARCH_FAAS_STATE name a file in a folder of your own")


def local_state() -> tuple[str, str] | None:
    """Address and token of the local FaaS, None where none was started.

    Raises
    ------
    InputError
        The state may be another's; see `own_folder`.
    """
    own_folder()
    try:
        found = json.loads(state_file().read_text(encoding="utf-8"))
        return str(found["url"]), str(found["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def local_endpoint() -> str | None:
    """The address of the local FaaS, None where none was started.

    Raises
    ------
    InputError
        The state may be another's; see `own_folder`.
    """
    found = local_state()
    return None if found is None else found[0]
