"""The location of this user's local FaaS: its address in a small file, written by `vsearch faas up`.

Whoever can write that file receives this user's searches, and the token next to the address allows running arbitrary code.
The folder must therefore belong to the user.
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
    """Path of the file: ``VSEARCH_FAAS_STATE``, or a default per user."""
    named = os.environ.get("VSEARCH_FAAS_STATE")
    return Path(named) if named else Path(gettempdir()) / f"vsearch-faas-{os.getuid()}" / "state.json"


def own_folder(*, make: bool = False) -> Path:
    """The folder of the state file; with `make`, it is created for this user alone if it does not exist.

    Raises
    ------
    InputError
        The folder is a symbolic link, belongs to another user, or is writable by others.
    """
    folder = state_file().parent
    if make:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return folder
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; set VSEARCH_FAAS_STATE to a file elsewhere") from None
    if stat.S_ISLNK(status.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(status.st_mode):
        problem = "is not a folder"
    elif status.st_uid != os.getuid():
        problem = "belongs to another user"
    elif status.st_mode & OTHERS_WRITE:
        problem = "is a folder that others can write to"
    else:
        return folder
    raise InputError(f"{folder}: {problem}; remove it, or set VSEARCH_FAAS_STATE to a file in a folder of your own")


def local_state() -> tuple[str, str] | None:
    """Address and token of the local FaaS; None if it was not started.

    Raises
    ------
    InputError
        The state may belong to another user; see `own_folder`.
    """
    own_folder()
    try:
        state = json.loads(state_file().read_text(encoding="utf-8"))
        return str(state["url"]), str(state["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def local_endpoint() -> str | None:
    """The address of the local FaaS; None if it was not started.

    Raises
    ------
    InputError
        The state may belong to another user; see `own_folder`.
    """
    state = local_state()
    return None if state is None else state[0]
