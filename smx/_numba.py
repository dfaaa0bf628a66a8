"""Compile a numeric loop with numba. Imported only where something is computed (numba is heavy)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """Compile on the first call; kept on disk where some cache folder can be written (an image may have none).

    The GIL is released, so callers run one per thread.
    """
    try:
        return cast(Kernel, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:
        return cast(Kernel, numba.njit(nogil=True, error_model="numpy")(function))
