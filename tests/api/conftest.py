from tests.functions.conftest import changes_package, kernels, keys, package

__all__ = ["changes_package", "kernels", "keys", "package"]
