# SPDX-License-Identifier: Apache-2.0
"""The exceptions, and their way across processes."""

from __future__ import annotations

import contextlib
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from . import bounded
from ._core import ErrorInfo

#: A pickled exception larger than this stays where it was; its text travels in any case.
_EXCEPTION_BYTES_MAX = 64 * 1024


class Error(Exception):
    """Base of all that Echelon raises. The kinds say what to do about it.

    message: one sentence; what was given, what was expected, what to do. path: where in the tree
    it happened, "pod0/host1/sub0". pid: of the process there. callable: the name of the function.
    phase: "running", "staging", ... cause: "exception", "signal", "deadline", ...
    remote_traceback: the other side's own lines. others: the other errors of the same run.

    >>> divide = host.register_sub(lambda task: 1 / task.scalars[0], "divide")
    >>> try:
    ...     host.run(lambda orch: orch.submit(divide, ec.Args().scalar(0)).result())
    ... except ec.Error as error:
    ...     print(error.callable, error.phase, repr(error.__cause__))
    divide running ZeroDivisionError('division by zero')
    """

    def __init__(self, message: str = "", info: ErrorInfo | None = None) -> None:
        super().__init__(message)
        self.info = info

    def __str__(self) -> str:
        return self.info.describe() if self.info is not None else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes it travels as an ErrorInfo; a pickled one is its text.
        return type(self), (str(self),)

    @property
    def message(self) -> str:
        """What was given, what was expected, what to do."""
        return self.info.message if self.info is not None else str(self.args[0])

    @property
    def code(self) -> str:
        """One of gRPC's sixteen."""
        return self.info.code if self.info is not None else "unknown"

    @property
    def reason(self) -> str:
        """What happened, finer than the code."""
        return self.info.reason if self.info is not None else "none"

    @property
    def path(self) -> str:
        """Where in the tree it happened."""
        return self.info.path if self.info is not None else ""

    @property
    def pid(self) -> int:
        """Of the process that it happened in; 0: not known."""
        return self.info.pid if self.info is not None else 0

    @property
    def callable(self) -> str:
        """The name under which the callable was registered."""
        return self.info.callable if self.info is not None else ""

    @property
    def phase(self) -> str:
        """Where in its life the task was."""
        return self.info.phase if self.info is not None else "none"

    @property
    def cause(self) -> str:
        """What ended it."""
        return self.info.cause if self.info is not None else "none"

    @property
    def remote_traceback(self) -> str:
        """The remote side's own lines, as text."""
        return self.info.traceback if self.info is not None else ""

    @property
    def others(self) -> list[Error]:
        """The other errors of the same run, oldest first."""
        return [from_info(other) for other in self.info.others] if self.info is not None else []


class InvalidArgument(Error, ValueError):
    """Mend the call."""


class WrongKind(InvalidArgument, TypeError):
    """Submit the handle where its kind runs: sub in sub-workers, chip on chips, orch in Workers."""


class WrongState(Error, RuntimeError):
    """Call it at another time."""


class StaleHandle(Error):
    """The tensor is gone."""


class DeadlineExceeded(Error, TimeoutError):
    """Give it longer, or look at what is stuck."""


class Cancelled(Error):
    """The run was cancelled."""


class ResourceExhausted(Error):
    """Wait, or ask for less."""


class TaskFailed(Error):
    """A callable raised, or depends on one that did. ``__cause__`` is what it raised."""


class ChildLost(Error):
    """A process of the tree died."""


class StartFailed(Error):
    """A child could not start."""


class RegistrationFailed(Error):
    """A callable could not be registered in a running tree, and is registered nowhere.

    path, pid, remote_traceback: of the first process that could not. others: one entry a process
    that was asked; code is "ok" where it could.
    """


_KINDS: dict[str, type[Error]] = {
    kind.__name__: kind
    for kind in (
        Error,
        InvalidArgument,
        WrongKind,
        WrongState,
        StaleHandle,
        DeadlineExceeded,
        Cancelled,
        ResourceExhausted,
        TaskFailed,
        ChildLost,
        StartFailed,
        RegistrationFailed,
    )
}


def from_info(info: ErrorInfo) -> Error:
    """The exception for what the runtime says, chained to the remote one where that came along."""
    error = _KINDS[info.kind](info.message, info)
    if info.exception:
        with _telling_ctrl_c() as came:
            try:
                remote = pickle.loads(info.exception)
            except BaseException as raised:  # may be anything; its text is in remote_traceback
                if came:
                    raise raised from error
                remote = None
        if isinstance(remote, BaseException):
            error.__cause__ = remote
    return error


@contextlib.contextmanager
def _telling_ctrl_c() -> Iterator[list[int]]:
    """A list that is not empty once Ctrl-C has come: the person's, not one that a pickle raises."""
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield came  # here no signal's handler runs
        return

    def note(number: int, frame: Any) -> Any:
        came.append(number)
        return handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, handler)


def _as_utf8(text: str) -> str:
    """Without lone surrogates (file names have them), which UTF-8 cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def message_of(raised: BaseException) -> str:
    """Its class and what it says, as the last line of a traceback."""
    lines = traceback.format_exception_only(type(raised), raised)
    return _as_utf8("".join(lines).strip())


def to_info(raised: BaseException) -> ErrorInfo | tuple[str, str, bytes]:
    """What is to be known of it elsewhere: its ErrorInfo, or (message, traceback, pickled)."""
    if isinstance(raised, Error) and raised.info is not None:
        return raised.info
    text = "".join(traceback.format_exception(type(raised), raised, raised.__traceback__))
    try:
        pickled = bounded.dumps(raised, _EXCEPTION_BYTES_MAX) or b""
    except BaseException:  # what it holds may raise anything, SystemExit too
        pickled = b""
    return (
        message_of(raised),
        _as_utf8(text),
        pickled,
    )
