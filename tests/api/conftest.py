from tests.functions.conftest import kernels, keys, package

__all__ = ["kernels", "keys", "package"]
