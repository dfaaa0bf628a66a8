"""How long a device works and how full it gets, and what it looks like when it is too full."""

from __future__ import annotations

import gc
import resource
import time

import torch

_WORDINGS = ("can't allocate memory", "not enough memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the GPU or of the machine, was not enough. (Torch's CPU allocator raises a RuntimeError.)"""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDINGS)


class Watch:
    """Seconds from one `lap` to the next, and the peak of memory since it was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last one, with all that the device was given done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed

    def peak(self) -> int:
        """Bytes: of a GPU since the watch was made, else of the process since it began."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    def make_room(self) -> None:
        """Give back what nothing uses any more."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
