# SPDX-License-Identifier: Apache-2.0
"""Workers that are still running when the program ends."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Any

_started: weakref.WeakSet[Any] = weakref.WeakSet()
_pid = 0


def close_at_exit(worker: Any) -> None:
    """Has the Worker closed before the interpreter ends, should the program not do it."""
    global _pid
    if _pid != os.getpid():
        _pid = os.getpid()
        _started.clear()
        atexit.unregister(_close_all)
        atexit.register(_close_all)
    _started.add(worker)


def _close_all() -> None:
    if _pid != os.getpid():
        return
    interrupted: KeyboardInterrupt | None = None
    for worker in list(_started):
        try:
            worker.close()
        except KeyboardInterrupt as raised:  # the others are to be closed all the same
            interrupted = raised
    if interrupted is not None:
        raise interrupted
