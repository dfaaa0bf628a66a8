"""What every test may ask for. Nothing here touches the repository's own registry or run folders."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from smx.cli._common import choose_workspace

hypothesis.settings.register_profile("smx", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("smx")

REPOSITORY = Path(__file__).resolve().parent.parent


def skip_or_fail(what: str, reason: str) -> None:
    """Skip with `reason`, or fail where SMX_REQUIRE names `what` (as CI does)."""
    if what in os.environ.get("SMX_REQUIRE", "").split(","):
        pytest.fail(f"{what} is required here: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of data that is not shipped: SMX_FIXTURES, default ../shared/fixtures."""
    folder = Path(os.environ.get("SMX_FIXTURES", REPOSITORY.parent / "shared" / "fixtures"))
    if not folder.is_dir():
        skip_or_fail("fixtures", f"no fixtures at {folder}; set SMX_FIXTURES")
    return folder


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings, or the workspace an earlier test named, must not change what a test sees."""
    for name in ("SMX_WORKSPACE", "SMX_PROBE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", os.devnull)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", os.devnull)
    choose_workspace(None)
