"""Commands of the site file: the lab's own shell lines. What they are told stands in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO


def run(
    command: str, *, variables: Mapping[str, str], cwd: Path, output: IO[bytes] | int, seconds: float
) -> int | None:
    """Run a shell line with `variables` added to the environment; both streams go to `output`.

    Nothing is ever pasted into the line: a name full of quotes reaches it as the value of a variable. Returns the
    exit code, or None where it did not end within `seconds` and was stopped with all it had started.
    """
    # A NUL ends a variable early, and the kernel refuses one.
    added = {name: value.replace("\0", " ") for name, value in variables.items()}
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, **added},
        start_new_session=True,  # Ctrl-C in the terminal is for smx
    ) as child:
        try:
            return child.wait(seconds)
        except BaseException as stop:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if isinstance(stop, subprocess.TimeoutExpired):
                return None
            raise
