from __future__ import annotations

import asyncio
import inspect

import pytest


def pytest_configure(config):
    for mark in ("asyncio", "benchmark", "vcr"):
        config.addinivalue_line("markers", f"{mark}: used by the suites of other libraries")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run tests that are coroutines; pytest-asyncio would be one more plugin for every process."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}))
    return True
