"""The processes that train one model together: each has all of it, and its share of every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

BUCKET = 64 << 20  # bytes of gradients that are summed at once


@dataclass(frozen=True)
class Ranks:
    """This process among them."""

    rank: int = 0
    size: int = 1
    device: Any = "cpu"

    def join(self, seconds: float) -> None:
        """Meet the others, within `seconds`, which also bounds every exchange later."""
        if self.size == 1:
            return
        import torch.distributed as dist

        backend = "nccl" if str(self.device).startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))

    def leave(self) -> None:
        """Say goodbye, once all is done."""
        if self.size > 1:
            import torch.distributed as dist

            dist.destroy_process_group()

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            self.totals([0])

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """Each number summed over ranks."""
        if self.size == 1:
            return list(numbers)
        import torch
        import torch.distributed as dist

        counts = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(counts)
        return counts.tolist()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Every rank gets the sum of all ranks' gradients; one that no rank has stays none."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=self.device)
        dist.all_reduce(has)
        bucket: list[Tensor] = []
        held = 0
        for parameter, count in zip(parameters, has.tolist(), strict=True):
            if not count:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            held += parameter.grad.nbytes
            if held >= BUCKET:
                _sum(bucket)
                bucket, held = [], 0
        if bucket:
            _sum(bucket)


def _sum(gradients: Sequence[Tensor]) -> None:
    import torch
    import torch.distributed as dist

    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    first = 0
    for gradient in gradients:
        gradient.copy_(flat[first : first + gradient.numel()].view_as(gradient))
        first += gradient.numel()
