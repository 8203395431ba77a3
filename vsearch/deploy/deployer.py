"""The interface of deployers: one module per platform, named by the platform's record, and the requests that it handles.

A module implements `Deployer`. The commands deploy, rollback and undeploy use it for any platform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from vsearch.deploy.packages import Package
from vsearch.errors import InputError
from vsearch.fanout.platforms import registry
from vsearch.fanout.platforms.aws_lambda import LAMBDA
from vsearch.fanout.platforms.platform import load_named

Tell = Callable[[Package], None]


@dataclass(frozen=True)
class DeployRequest:
    """A deployment, independent of the platform. A deployer refuses options that its platform does not support.

    Attributes
    ----------
    index : str
        URL of the index.
    stack : str
        Name of the stack, and prefix of its functions.
    memory : int
        Memory per function in MB.
    arch, python : str
        Architecture and Python version of the package; None for a suitable Python version.
    timeout : int
        Seconds per function.
    region : str, optional
    overflow : str, optional
        URL for messages over the platform's limit.
    api_key : str, optional
        Add a URL that answers JSON to callers with this key.
    writer : bool
        Add a function that changes the index.
    write_key : str, optional
        Let callers with this key change the index through the URL.
    optimize_every : int, optional
        Add a function that maintains the index, at this interval in minutes.
    drop : frozenset of str
        Parts that may be removed from the stack: "url", "writer", "keeper".
    keep : int
        Releases to keep for rollbacks, including this one.
    variables : dict
        Environment variables of every function.
    storage : dict
        Options of `vsearch.open` for the index.
    options : dict
        Options that only this platform has.
    """

    index: str
    stack: str
    memory: int
    arch: str
    python: str | None
    timeout: int
    region: str | None = None
    overflow: str | None = None
    api_key: str | None = None
    writer: bool = False
    write_key: str | None = None
    optimize_every: int | None = None
    drop: frozenset[str] = frozenset()
    keep: int = 3
    variables: dict[str, str] = field(default_factory=dict)
    storage: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """A deployed stack.

    Attributes
    ----------
    stack, status, release : str
    changed : bool
        Whether anything was created, updated or switched.
    functions : tuple of str
    url : str or None
        URL of the function with the JSON API.
    """

    stack: str
    status: str
    release: str
    changed: bool
    functions: tuple[str, ...]
    url: str | None


@dataclass(frozen=True)
class Release:
    """A deployed release.

    Attributes
    ----------
    release : str
        Digest of the package and configuration.
    shards : int
    version : int
        Version of the coordinator.
    live : bool
        Whether it is the release that answers.
    """

    release: str
    shards: int
    version: int
    live: bool


class Deployer(Protocol):
    """A module that deploys to a platform."""

    def deploy(self, request: DeployRequest, tell: Tell) -> Deployment:
        """Deploy or update a stack; `tell` is called with the package once it is built."""

    def preview(self, request: DeployRequest, tell: Tell) -> str:
        """Describe what would be deployed, as text."""

    def undeploy(self, stack: str, region: str | None) -> bool:
        """Delete a stack; False if there is no such stack. The index is kept."""

    def releases(self, stack: str, region: str | None) -> Sequence[Release]:
        """Deployed releases that still exist, newest first."""

    def roll_back(self, stack: str, region: str | None, release: str | None) -> Release:
        """Make an earlier release live, by default the previous one; return it."""


@dataclass(frozen=True)
class Target:
    """The name of a stack and its deployer."""

    deployer: Deployer
    scheme: str
    stack: str


def find_target(stack: str) -> Target:
    """Find the deployer for ``name``, which is on AWS Lambda, or for ``scheme://name`` on any platform.

    Raises
    ------
    InputError
        There is no such platform, or it has no deployer.
    """
    if "://" not in stack:
        stack = f"{LAMBDA.scheme}://{stack}"
    platform = registry.platform_of_url(stack)
    if platform is None or not platform.deployer:
        known = ", ".join(
            f"{platform_record.scheme}://" for platform_record in registry.PLATFORMS if platform_record.deployer
        )
        raise InputError(f"cannot deploy to {stack!r}: supported are {known}")
    return Target(cast("Deployer", load_named(platform.deployer)), platform.scheme, stack.partition("://")[2])
