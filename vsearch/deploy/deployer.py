"""What deploys an index to a platform: one module for each, named by the platform's record, and what it is asked.

A module stands for a `Deployer`. The commands deploy, rollback and undeploy ask it, whatever the platform.
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
    """What is to be deployed, in words of all platforms. A deployer refuses what its platform does not have.

    Attributes
    ----------
    index : str
        URL.
    stack : str
        What the functions are named after.
    memory : int
        MB of each function.
    arch, python : str
        What the package is for; None for the Python that suits.
    timeout : int
        Seconds of each function.
    region : str, optional
    overflow : str, optional
        Place for messages over the platform's limit.
    api_key : str, optional
        Add a URL that answers JSON to who knows it.
    drop_url : bool
        Take the URL away that the stack has.
    keep : int
        Releases that stay for a rollback, this one among them.
    variables : dict
        Environment variables of every function.
    storage : dict
        Options of `vsearch.open` for the index.
    own : dict
        Options of one platform only.
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
    drop_url: bool = False
    keep: int = 3
    variables: dict[str, str] = field(default_factory=dict)
    storage: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """A stack that is there.

    Attributes
    ----------
    stack, status, release : str
    changed : bool
        Whether anything was created, updated or switched.
    functions : tuple of str
    url : str or None
        Of the function that answers JSON.
    """

    stack: str
    status: str
    release: str
    changed: bool
    functions: tuple[str, ...]
    url: str | None


@dataclass(frozen=True)
class Release:
    """Something that was deployed.

    Attributes
    ----------
    release : str
        Digest of package and configuration.
    shards : int
    version : int
        Of the coordinator.
    live : bool
        Whether it answers.
    """

    release: str
    shards: int
    version: int
    live: bool


class Deployer(Protocol):
    """A module that deploys."""

    def deploy(self, request: DeployRequest, tell: Tell) -> Deployment:
        """Deploy a stack, or deploy it again; `tell` is given the package once it is built."""

    def preview(self, request: DeployRequest, tell: Tell) -> str:
        """What would be deployed, as text."""

    def undeploy(self, stack: str, region: str | None) -> bool:
        """Take a stack away; False where there is none. The index stays."""

    def releases(self, stack: str, region: str | None) -> Sequence[Release]:
        """What was deployed and is still there, newest first."""

    def roll_back(self, stack: str, region: str | None, release: str | None) -> Release:
        """Let a former release answer, the one before by default; returns it."""


@dataclass(frozen=True)
class Target:
    """A stack, by name, and who deploys it."""

    deployer: Deployer
    scheme: str
    stack: str


def find_target(stack: str) -> Target:
    """Who deploys ``name``, which is on AWS Lambda, or ``scheme://name`` of any platform.

    Raises
    ------
    InputError
        No platform is called so, or nothing deploys to it.
    """
    if "://" not in stack:
        stack = f"{LAMBDA.scheme}://{stack}"
    platform = registry.platform_of_url(stack)
    if platform is None or not platform.deployer:
        known = ", ".join(f"{each.scheme}://" for each in registry.PLATFORMS if each.deployer)
        raise InputError(f"nothing deploys {stack!r}: stacks are deployed to {known}")
    return Target(cast("Deployer", load_named(platform.deployer)), platform.scheme, stack.partition("://")[2])
