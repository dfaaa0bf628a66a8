"""smx: experiments with spatial video MLLMs, from chosen frames to the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smx.api import Lab, job, open

__version__ = "0.1.0"
__all__ = ["Lab", "job", "open"]


def __getattr__(name: str) -> Any:
    """The door for Python (`smx.api`), loaded when something of it is asked for."""
    if name in __all__:
        from smx import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
