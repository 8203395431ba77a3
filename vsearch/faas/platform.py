"""The platform: functions, their warm and cold environments, and limits on their number."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from vsearch.faas.environments import Environment
from vsearch.faas.functions import LARGEST_REQUEST, SCHEDULED, FunctionSpec, Reply, not_found, throttled, too_large
from vsearch.faas.packages import runtime_folder, unpack


@dataclass(frozen=True)
class Limits:
    """Limits of the platform.

    Attributes
    ----------
    environments : int
        Maximum number over all functions; further concurrent invocations are throttled.
    idle : float
        Seconds after which an unused environment is stopped.
    """

    environments: int = 40
    idle: float = 600.0


@dataclass
class _Function:
    spec: FunctionSpec
    code: Path
    idle: list[Environment] = field(default_factory=list)  # last in, first out
    busy: int = 0
    cold: int = 0
    invocations: int = 0
    due: float = field(default_factory=time.monotonic)  # time of the next scheduled run


class Platform:
    """Runs functions.

    Parameters
    ----------
    folder : Path
        Where packages are unpacked.
    limits : Limits
    variables : dict
        Environment variables of every function: credentials and endpoints.
    """

    def __init__(self, folder: Path, limits: Limits | None = None, variables: dict[str, str] | None = None) -> None:
        self.limits = limits or Limits()
        self.variables = variables or {}
        self._folder = folder
        self._runtime = runtime_folder(folder / "runtime")
        self._functions: dict[str, _Function] = {}
        self._lock = threading.Lock()
        self._closing, self._rescheduled = threading.Event(), threading.Event()
        threading.Thread(target=self._reap, daemon=True).start()
        threading.Thread(target=self._run_schedules, daemon=True).start()

    def put(self, spec: FunctionSpec) -> None:
        """Create or replace a function; environments of the old one are stopped.

        Raises
        ------
        InputError
            The package is invalid.
        """
        code = unpack(spec.package, self._folder / "packages")
        with self._lock:
            old = self._functions.get(spec.name)
            self._functions[spec.name] = _Function(spec, code, due=time.monotonic() + (spec.every or 0))
        self._rescheduled.set()
        for environment in old.idle if old else ():
            environment.stop()

    def remove(self, name: str) -> bool:
        """Remove a function; False if it does not exist."""
        with self._lock:
            old = self._functions.pop(name, None)
        for environment in old.idle if old else ():
            environment.stop()
        return old is not None

    def invoke(self, name: str, event: bytes) -> Reply:
        """Invoke a function and wait for its reply."""
        if len(event) > LARGEST_REQUEST:
            return too_large()
        with self._lock:
            function = self._functions.get(name)
        if function is None:
            return not_found(name)
        claimed = self._take(function)
        if isinstance(claimed, Reply):
            return claimed
        environment: Environment | None = claimed
        try:
            if environment is None:
                environment = Environment(function.spec, function.code, self._runtime, self.variables)
            return environment.invoke(event, str(uuid4()))
        finally:
            self._give_back(function, environment)

    def status(self) -> list[dict[str, Any]]:
        """Functions and the number of their environments."""
        with self._lock:
            return [
                {
                    "name": name,
                    "handler": function.spec.handler,
                    "memory": function.spec.memory,
                    "idle": len(function.idle),
                    "busy": function.busy,
                    "invocations": function.invocations,
                    "cold_starts": function.cold,
                }
                for name, function in sorted(self._functions.items())
            ]

    def spec(self, name: str) -> FunctionSpec | None:
        """The specification of a function; None if it does not exist."""
        with self._lock:
            function = self._functions.get(name)
        return None if function is None else function.spec

    def log(self, name: str) -> bytes:
        """The end of the log of the function's most recently used environment."""
        with self._lock:
            function = self._functions.get(name)
            idle = list(function.idle) if function else []
        return idle[-1].tail() if idle else b""

    def evict_idle(self, name: str | None = None) -> int:
        """Stop idle environments, so that the next invocation is a cold start; return how many were stopped."""
        with self._lock:
            chosen = [f for f in self._functions.values() if name in (None, f.spec.name)]
            evicted = [environment for function in chosen for environment in function.idle]
            for function in chosen:
                function.idle = []
        for environment in evicted:
            environment.stop()
        return len(evicted)

    def close(self) -> None:
        """Stop all environments."""
        self._closing.set()
        self._rescheduled.set()
        self.evict_idle()

    def _take(self, function: _Function) -> Environment | Reply | None:
        """Return a warm environment, None if a new one is needed, or a refusal."""
        evicted = None
        with self._lock:
            limit = function.spec.concurrency
            if limit is not None and function.busy >= limit:
                return throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
            warm = None
            while function.idle and warm is None:
                candidate = function.idle.pop()
                warm = candidate if candidate.alive else None
            if warm is None:
                total = sum(f.busy + len(f.idle) for f in self._functions.values())
                if total >= self.limits.environments:
                    evicted = self._oldest_idle()
                    if evicted is None:
                        return throttled("ConcurrentInvocationLimitExceeded")
                function.cold += 1
            function.busy += 1
            function.invocations += 1
        if evicted is not None:
            evicted.stop()
        return warm

    def _oldest_idle(self) -> Environment | None:
        oldest = [
            (environment.used, function) for function in self._functions.values() for environment in function.idle[:1]
        ]
        if not oldest:
            return None
        _, function = min(oldest, key=lambda pair: pair[0])
        return function.idle.pop(0)

    def _give_back(self, function: _Function, environment: Environment | None) -> None:
        keep = environment is not None and environment.alive and not self._closing.is_set()
        with self._lock:
            function.busy -= 1
            keep = keep and self._functions.get(function.spec.name) is function
            if keep and environment is not None:
                function.idle.append(environment)
        if environment is not None and not keep:
            environment.stop()

    def _run_schedules(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                upcoming = [function.due for function in self._functions.values() if function.spec.every is not None]
            wait = max(0.0, min(upcoming) - time.monotonic()) if upcoming else None
            self._rescheduled.wait(wait)
            self._rescheduled.clear()
            now = time.monotonic()
            with self._lock:
                due = [(f.spec.name, f) for f in self._functions.values() if f.spec.every is not None and f.due <= now]
                for _, function in due:
                    function.due = now + (function.spec.every or 0)
            for name, function in due:
                if not function.busy:  # the previous run has not finished
                    threading.Thread(target=self.invoke, args=(name, SCHEDULED), daemon=True).start()

    def _reap(self) -> None:
        while not self._closing.wait(min(1.0, self.limits.idle / 4)):
            cutoff = time.monotonic() - self.limits.idle
            with self._lock:
                expired = []
                for function in self._functions.values():
                    expired += [environment for environment in function.idle if environment.used < cutoff]
                    function.idle = [environment for environment in function.idle if environment.used >= cutoff]
            for environment in expired:
                environment.stop()
