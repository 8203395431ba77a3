from tests.functions.conftest import build_package_once, changes_package, kernels, keys, package

__all__ = ["build_package_once", "changes_package", "kernels", "keys", "package"]
