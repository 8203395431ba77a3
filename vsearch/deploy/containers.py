"""Containers that run `vsearch serve`: what is built, and how Docker Compose and Cloud Run start it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from vsearch.checks import check_whole
from vsearch.deploy.rendering import render
from vsearch.errors import InputError
from vsearch.storage.stores.urls import redacted

Platform = Literal["container", "cloudrun"]
PLATFORMS: tuple[Platform, ...] = ("container", "cloudrun")

PORT = 8080
S3_PORT = 8333
S3_IMAGE = "chrislusf/seaweedfs:3.97"
USER = 10001
LEAST_MEMORY, MOST_MEMORY = 512, 32_768
MOST_WORKERS = 8
LONGEST = 3600
"""Maximum number of seconds of a request on Cloud Run."""

PROCESSORS = {1: 4096, 2: 8192, 4: 16_384, 6: 24_576, 8: 32_768}
"""Possible numbers of processors of a Cloud Run service, and the maximum memory in MB with each."""

EXTRA = "serve"
LEFT_OUT = ("__pycache__", "compiled", "*.pyc")

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_REGION = re.compile(r"[a-z]+(-[a-z0-9]+){1,3}")
_KEY = re.compile(r"[A-Za-z0-9._~-]+")
_ARCHES = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
_GENERATED = "Written by `vsearch deploy`."


@dataclass(frozen=True)
class ContainerSpec:
    """A server in a container.

    Attributes
    ----------
    index : str
        A folder, or the URL of a bucket.
    name : str
        Name of the service.
    platform : {"container", "cloudrun"}
    memory : int
        Memory in MB.
    arch : {"x86_64", "arm64"}
    python : str
        Version of Python in the image.
    workers : int
        Processes of the server.
    timeout : int
        Seconds that a request may take on Cloud Run.
    writable : bool
        Whether changes are accepted.
    region : str
        Region of Cloud Run.
    endpoint : str, optional
        An S3 server to use instead of starting one next to it.
    """

    index: str
    name: str
    platform: Platform
    memory: int = 2048
    arch: str = "x86_64"
    python: str = "3.13"
    workers: int = 1
    timeout: int = 60
    writable: bool = False
    region: str = "us-central1"
    endpoint: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"the name of a service must be 1 to 49 lower-case letters, digits and hyphens, got {self.name!r:.100}"
            )
        if self.platform not in PLATFORMS:
            raise InputError(f"platform must be {' or '.join(PLATFORMS)}, got {self.platform!r:.100}")
        if self.arch not in _ARCHES:
            raise InputError(f"arch must be {' or '.join(_ARCHES)}, got {self.arch!r:.100}")
        if not LEAST_MEMORY <= self.memory <= MOST_MEMORY:
            raise InputError(f"memory must be {LEAST_MEMORY} to {MOST_MEMORY} MB, got {self.memory}")
        if not _PYTHON.fullmatch(self.python):
            raise InputError(f"python must be a version such as 3.13, got {self.python!r:.100}")
        check_whole("workers", self.workers, MOST_WORKERS)
        self._check_urls()
        if self.platform == "cloudrun":
            self._check_cloud_run()

    def _check_urls(self) -> None:
        if self.scheme and self.scheme not in {"s3", "gs", "az"}:
            raise InputError(
                f"the index of a container must be a folder, s3://, gs:// or az://, got {redacted(self.index)!r:.100}"
            )
        for url in (self.index, self.endpoint):
            if url is not None and not url.isprintable():
                raise InputError(f"URLs and paths must have printable characters only, got {redacted(url)!r:.200}")
        for url in (self.index if self.scheme else None, self.endpoint):
            if url is not None and redacted(url) != url:
                raise InputError(
                    f"URLs are written into files that others may read, and must not contain keys, got {redacted(url)!r:.200}"
                )

    def _check_cloud_run(self) -> None:
        if self.arch != "x86_64":
            raise InputError(f"the architecture on Cloud Run must be x86_64, got {self.arch}")
        if not self.scheme:
            raise InputError(
                "Cloud Run cannot read a folder of this machine: copy the index to a bucket, such as gs://bucket/index"
            )
        if not _REGION.fullmatch(self.region):
            raise InputError(f"region must be one of Google Cloud, such as europe-west1, got {self.region!r:.100}")
        check_whole("timeout", self.timeout, LONGEST)

    @property
    def scheme(self) -> str:
        """Scheme of the index's URL; "" for a folder."""
        return urlsplit(self.index).scheme if "://" in self.index else ""

    @property
    def own_s3(self) -> bool:
        """Whether an S3 server is started next to it."""
        return self.platform == "container" and self.scheme == "s3" and self.endpoint is None


def write_context(spec: ContainerSpec, folder: Path, keys: Mapping[str, str] | None = None) -> list[str]:
    """Write the files from which the image is built and started, and return the commands for both.

    Parameters
    ----------
    keys : mapping, optional
        For Docker Compose, ``VSEARCH_API_KEY`` and ``VSEARCH_WRITE_KEY``; new ones by default.

    Raises
    ------
    InputError
        The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} already exists; pass an empty or new folder")
    files = {
        "Dockerfile": dockerfile(spec),
        "requirements.txt": "\n".join(requirements()) + "\n",
        ".dockerignore": "*\n!vsearch\n!requirements.txt\n",
    }
    if spec.platform == "container":
        files["compose.yaml"] = f"# {_GENERATED}\n{render(compose(spec))}"
        files |= _keys(spec, keys or {})
    else:
        files["service.yaml"] = f"# {_GENERATED}\n{render(knative(spec))}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(Path(__file__).parents[1], folder / "vsearch", ignore=shutil.ignore_patterns(*LEFT_OUT))
    for name, text in files.items():
        path = folder / name
        path.touch(0o600 if name in {".env", "s3.json"} else 0o644)
        path.write_text(text, encoding="utf-8")
    return commands(spec, folder)


def dockerfile(spec: ContainerSpec) -> str:
    """Return the Dockerfile: the kernels are compiled in a first stage, and the server does not run as root."""
    machine = {"x86_64": "x86_64", "arm64": "aarch64"}[spec.arch]
    from vsearch.kernels.toolchain.library import TARGETS

    targets = " ".join(f"--target {target}" for target in TARGETS[machine])
    probe = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/health', timeout=3)"
    return f"""# {_GENERATED}
FROM --platform={_ARCHES[spec.arch]} python:{spec.python}-slim AS kernels
WORKDIR /build
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt 'ziglang>=0.13'
COPY vsearch vsearch
RUN python -m vsearch.kernels.toolchain.ahead_of_time --out vsearch/kernels/compiled {targets}

FROM --platform={_ARCHES[spec.arch]} python:{spec.python}-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt && useradd --system --uid {USER} vsearch
COPY --from=kernels /build/vsearch vsearch
RUN python -m compileall -q vsearch
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1
USER {USER}
EXPOSE {PORT}
HEALTHCHECK --start-period=30s CMD ["python", "-c", {json.dumps(probe)}]
ENTRYPOINT ["python", "-m", "vsearch.cli"]
"""


def requirements() -> list[str]:
    """Return the requirements of the server, from the metadata of this installation.

    Raises
    ------
    InputError
        vsearch is not installed, only importable.
    """
    try:
        listed = metadata.requires("vsearch") or []
    except metadata.PackageNotFoundError:
        raise InputError("vsearch is not installed, so its requirements are unknown; pip install it") from None
    plain = [requirement for requirement in listed if "extra ==" not in requirement]
    extra = [requirement for requirement in listed if re.search(rf"extra == ['\"]{EXTRA}['\"]", requirement)]
    return [*plain, *(requirement.partition(";")[0].strip() for requirement in extra)]


def installed_bytes() -> int:
    """Return the bytes of the requirements of the server, as installed here; without Python and the base image."""
    waiting, sizes = [re.split(r"[\s<>=!~;\[(]", text)[0] for text in requirements()], dict[str, int]()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        sizes[name] = sum(file.size or 0 for file in distribution.files or ())
        needed = [text for text in distribution.requires or [] if "extra ==" not in text]
        waiting += [re.split(r"[\s<>=!~;\[(]", text)[0] for text in needed]
    return sum(sizes.values())


def arguments(spec: ContainerSpec) -> list[str]:
    """Return the arguments of the image's entry point."""
    index = spec.index if spec.scheme else "/index"
    listed = ["serve", index, "--host", "0.0.0.0", "--port", str(PORT), "--workers", str(spec.workers)]  # noqa: S104
    return [*listed, "--writable"] if spec.writable else listed


def compose(spec: ContainerSpec) -> dict[str, Any]:
    """Return the services for Docker Compose: the server, and an S3 server if the index is in one."""
    keys = ["VSEARCH_API_KEY", *(["VSEARCH_WRITE_KEY"] if spec.writable else [])]
    environment = {key: f"${{{key}:?set it in .env}}" for key in keys}
    server: dict[str, Any] = {
        "build": ".",
        "command": list(map(_literal, arguments(spec))),
        "environment": environment,
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "mem_limit": f"{spec.memory}m",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108  in the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": "90s",
    }
    services = {"vsearch": server}
    if not spec.scheme:
        mount = {"type": "bind", "source": _literal(str(Path(spec.index).resolve())), "target": "/index"}
        server["volumes"] = [mount | ({} if spec.writable else {"read_only": True})]
    if spec.scheme == "s3":
        endpoint = _literal(spec.endpoint or f"http://s3:{S3_PORT}")
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        environment |= {name: f"${{{name}:?set it in .env}}" for name in names} | {"AWS_ENDPOINT_URL": endpoint}
        if endpoint.startswith("http://"):
            environment["AWS_ALLOW_HTTP"] = "true"
    if spec.own_s3:
        server["depends_on"] = ["s3"]
        services["s3"] = {
            "image": S3_IMAGE,
            "command": ["server", "-dir=/data", "-s3", f"-s3.port={S3_PORT}", "-s3.config=/etc/s3.json"],
            "volumes": ["objects:/data", "./s3.json:/etc/s3.json:ro"],
            "ports": [f"127.0.0.1:{S3_PORT}:{S3_PORT}"],
            "restart": "unless-stopped",
        }
    document: dict[str, Any] = {"name": spec.name, "services": services}
    return document | ({"volumes": {"objects": {}}} if spec.own_s3 else {})


def _literal(text: str) -> str:
    """Escape a text so that Docker Compose does not interpolate variables in it."""
    return text.replace("$", "$$")


def knative(spec: ContainerSpec) -> dict[str, Any]:
    """Return the Knative service of Cloud Run. The placeholders PROJECT and REGION are those of the image."""
    keys = {"VSEARCH_API_KEY": "api-key"} | ({"VSEARCH_WRITE_KEY": "write-key"} if spec.writable else {})
    variables = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": f"{spec.name}-{secret}", "key": "latest"}}}
        for name, secret in keys.items()
    ]
    container = {
        "image": image(spec),
        "args": [argument.replace("$(", "$$(") for argument in arguments(spec)],  # otherwise a variable
        "ports": [{"name": "http1", "containerPort": PORT}],
        "env": variables,
        "resources": {"limits": {"cpu": str(_processors(spec)), "memory": f"{spec.memory}Mi"}},
        "startupProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 2, "failureThreshold": 60},
    }
    annotations = {"autoscaling.knative.dev/minScale": "0", "autoscaling.knative.dev/maxScale": "10"}
    annotations |= {"run.googleapis.com/startup-cpu-boost": "true"}
    revision = {"containerConcurrency": 40, "timeoutSeconds": spec.timeout, "containers": [container]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": spec.name, "annotations": {"run.googleapis.com/ingress": "all"}},
        "spec": {
            "template": {"metadata": {"annotations": annotations}, "spec": revision},
            "traffic": [{"percent": 100, "latestRevision": True}],
        },
    }


def _processors(spec: ContainerSpec) -> int:
    return next(count for count, most in PROCESSORS.items() if count >= spec.workers and spec.memory <= most)


def image(spec: ContainerSpec) -> str:
    """Return the name of the image on Cloud Run, with a placeholder for the project."""
    return f"{spec.region}-docker.pkg.dev/PROJECT/vsearch/{spec.name}"


def commands(spec: ContainerSpec, folder: Path) -> list[str]:
    """Return the commands that build and start it."""
    if spec.platform == "container":
        return [f"docker compose --project-directory {_quoted(folder)} up --build --detach"]
    keys = [f"{spec.name}-{key}" for key in ("api-key", *(["write-key"] if spec.writable else []))]
    where = f"--region {spec.region}"
    return [
        "gcloud services enable run.googleapis.com cloudbuild.googleapis.com artifactregistry.googleapis.com secretmanager.googleapis.com",
        f"gcloud artifacts repositories create vsearch --repository-format docker --location {spec.region}",
        *(f"gcloud secrets create {key} --data-file=-  # type the key, then Ctrl-D" for key in keys),
        f"sed -i s/PROJECT/$(gcloud config get-value project)/ {_quoted(folder / 'service.yaml')}",
        f"gcloud builds submit {_quoted(folder)} --tag {image(spec).replace('PROJECT', '$(gcloud config get-value project)')}",
        f"gcloud run services replace {_quoted(folder / 'service.yaml')} {where}",
        f"gcloud run services add-iam-policy-binding {spec.name} {where} --member allUsers --role roles/run.invoker",
    ]


def _keys(spec: ContainerSpec, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the files with keys, which only their owner may read."""
    names = ("VSEARCH_API_KEY", *(("VSEARCH_WRITE_KEY",) if spec.writable else ()))
    lines = [f"{name}={_checked(keys.get(name) or secrets.token_urlsafe(32))}" for name in names]
    if not spec.own_s3:
        missing = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if spec.scheme == "s3" else ()
        return {".env": "\n".join([*lines, *(f"{name}=" for name in missing)]) + "\n"}
    access, secret = secrets.token_hex(10), secrets.token_urlsafe(30)
    lines += [f"AWS_ACCESS_KEY_ID={access}", f"AWS_SECRET_ACCESS_KEY={secret}"]
    identity = {
        "name": "vsearch",
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    return {".env": "\n".join(lines) + "\n", "s3.json": json.dumps({"identities": [identity]}, indent=2) + "\n"}


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InputError(
            "a key for Docker Compose must have only letters, digits and - _ . ~, since .env files require quotes for others"
        )
    return key


def _quoted(path: Path | str) -> str:
    import shlex

    return shlex.quote(str(path))


def describe(spec: ContainerSpec, written: Sequence[str]) -> dict[str, Any]:
    """Return what was written, for people and machines."""
    return {
        "name": spec.name,
        "platform": spec.platform,
        "installed_bytes": installed_bytes(),
        "commands": list(written),
    }
