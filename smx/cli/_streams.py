"""Standard output and error of a command whose reader may leave before it ends (`smx ls | head -1`)."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


def settle() -> None:
    """Let lines go nowhere, in silence, once nobody reads them: work goes on, and the exit code says how it ended.

    What a terminal or a file cannot show is replaced: one without the lines of a table still shows its numbers.
    """
    sys.stdout, sys.stderr = _patient(sys.stdout), _patient(sys.stderr)


def listening() -> bool:
    """False once whoever read this command's output has left: what only follows others may end then."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return not (isinstance(raw, _Pipe) and raw.left)


def flushed(code: int) -> int:
    """`code`, or 1 where what was printed could not be written to the file it was to go to."""
    try:
        sys.stderr.flush()
        sys.stdout.flush()
    except OSError as error:
        if not code:
            sys.stderr.write(f"error: the output could not be written: {error.strerror}\n")
        sys.stdout = _nowhere()  # nothing is tried again on the way out
        return code or 1
    return code


class _Pipe(io.FileIO):
    """A pipe that nobody need read to its end."""

    left = False

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self.left = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for what other libraries, and processes we start, write there
            os.close(nowhere)
            return len(data)


def _patient(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed by whoever started us (>&-)
        return _nowhere()
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream.isatty():
        stream.reconfigure(errors="replace")
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Pipe(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, "replace", line_buffering=stream.line_buffering)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open as long as the process
