"""A failure's place: the line of smx that people should look at."""

from __future__ import annotations

from pathlib import Path

import pytest

import smx
from smx.node.shard import describe


def test_a_library_inside_a_checkout_called_smx_is_not_our_code() -> None:
    """Lost otherwise: with `.venv` in a clone named smx, failures are grouped by lines of torch."""
    own = str(Path(smx.__file__).parent / "node" / "gen.py")
    library = "/home/a/smx/.venv/lib/python3.11/site-packages/torch/nn.py"
    scope: dict[str, object] = {}
    exec(compile("def forward():\n    raise ValueError('no')", library, "exec"), scope)
    exec(compile("def work():\n    forward()", own, "exec"), scope)
    work = scope["work"]
    assert callable(work)
    with pytest.raises(ValueError, match="no") as caught:
        work()
    assert describe(caught.value)["where"] == "gen.work"
