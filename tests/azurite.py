"""Microsoft's emulator of Azure Blob Storage for tests, where it is installed (``npm install -g azurite``)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import shutil
import subprocess
import time
from email.utils import formatdate

import pytest

from tests.seaweed import free_ports

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's own, known to all
CONTAINER = "vsearch"


def _create_container(port: int) -> int:
    """The status of the answer."""
    path = f"/{ACCOUNT}/{CONTAINER}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed += f"/{ACCOUNT}{path}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), signed.encode(), hashlib.sha256)).decode()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request(
            "PUT", f"{path}?restype=container", None, headers | {"Authorization": f"SharedKey {ACCOUNT}:{signature}"}
        )
        return client.getresponse().status
    finally:
        client.close()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    """Options for ``open_store`` that may read and write ``az://vsearch``."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("the tests of Azure need its emulator: npm install -g azurite")
    (port,) = free_ports(1)
    command = [program, "--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    log = tmp_path_factory.mktemp("azurite") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                status = _create_container(port)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"Azurite did not start:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
        assert status == 201
        yield {"endpoint": f"http://127.0.0.1:{port}/{ACCOUNT}", "account": ACCOUNT, "account_key": KEY}
    finally:
        process.kill()
        process.wait()
