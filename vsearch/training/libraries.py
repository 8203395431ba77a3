"""Libraries that only trainings need."""

from __future__ import annotations

from typing import Any

from vsearch.errors import MissingDependencyError


def import_torch() -> Any:
    """Return torch.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("training an encoder needs torch: pip install 'vsearch[torch]'") from error
    return torch
