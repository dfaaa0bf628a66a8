"""Being asked to stop: the exceptions a signal becomes, and how a training answers at the end of a step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = "SMX_GRACE"  # environment: seconds between the signal and the end, as the scheduler was asked for
_USUAL = 30.0  # seconds, where nobody says


class Cancelled(BaseException):
    """SIGTERM: end after this, keep what is recorded. (A BaseException: no item may swallow it.)"""


class Preempted(BaseException):
    """SIGUSR2: a scheduler needs the machine, or the time limit is near. The item in hand is dropped."""


class Abandoned(BaseException):
    """The step in hand takes too long to end within the grace time."""


class StepStop:
    """Whether a stop was asked for; `interruptible` while a step may be abandoned with nothing changed yet."""

    def __init__(self) -> None:
        self.asked: type[BaseException] | None = None
        self.stepping = False  # until then a signal is answered at once
        self.interruptible = False
        self.listens = False  # whether SIGALRM is answered by raising `failure`
        self.failure: BaseException | None = None
        self.otherwise: type[BaseException] = Preempted  # what is raised where another rank was asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer SIGTERM and SIGUSR2 by remembering them; after a third of the grace time the step is abandoned."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, _: FrameType | None) -> None:
            if self.asked is None:
                self.asked = Cancelled if number == signal.SIGTERM else Preempted
                if not self.stepping:
                    raise self.asked
                signal.setitimer(signal.ITIMER_REAL, float(os.environ.get(GRACE, _USUAL)) / 3)

        def alarm(_: int, __: FrameType | None) -> None:
            if self.failure is not None:
                raise self.failure
            if self.interruptible:
                self.interruptible = False
                raise Abandoned

        handlers = {signal.SIGTERM: remember, signal.SIGUSR2: remember, signal.SIGALRM: alarm}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self.listens = True
        try:
            yield
        finally:
            self.listens = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)
