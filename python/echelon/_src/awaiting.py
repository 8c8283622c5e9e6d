# SPDX-License-Identifier: Apache-2.0
"""``await run``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Generator
from typing import Any

from ._core import Run

#: How long a thread outlives an await that was given up.
_SLICE_SECONDS = 0.05


async def _result(run: Run) -> Any:
    if not run.done():
        ended = asyncio.get_running_loop().create_future()
        given_up = threading.Event()
        # Not the loop's executor: its few threads are the program's, and asyncio.run() waits for
        # them at its end, however long a cancelled run takes to stop.
        threading.Thread(
            target=_wait_for, args=(run, ended, given_up), name="echelon-await", daemon=True
        ).start()
        try:
            await ended
        except asyncio.CancelledError:
            run.cancel()
            raise
        finally:
            given_up.set()
    return run.result()


def _wait_for(run: Run, ended: asyncio.Future[None], given_up: threading.Event) -> None:
    while not given_up.is_set():
        try:
            if not run.wait(_SLICE_SECONDS):
                continue
        except BaseException:  # raised by result(), in the awaiting task
            pass
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            ended.get_loop().call_soon_threadsafe(_tell, ended)
        return


def _tell(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def await_run(run: Run) -> Generator[Any, None, Any]:
    """What Run.__await__ returns."""
    return _result(run).__await__()
