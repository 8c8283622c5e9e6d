# SPDX-License-Identifier: Apache-2.0
"""Echelon: one program over a tree of machines.

>>> import numpy as np, echelon as ec
>>> def scale(task):
...     x, y = task.arrays()  # NumPy views on shared memory, no copy; x is read-only
...     y[:] = task.scalars[0] * x
>>> with ec.Worker(level=3, sub_workers=2) as host:
...     h = host.register_sub(scale)
...     x, y = host.tensor(np.arange(4, dtype=np.float32)), host.tensor((4,), np.float32)
...     _ = host.run(lambda orch: orch.submit(h, ec.Args().input(x).output(y).scalar(3.0)))
...     print(y.array())
[0. 3. 6. 9.]
"""

from __future__ import annotations

from ._src import interpreter as _interpreter

_interpreter.check()

from ._src._core import VERSION as __version__  # noqa: E402
from ._src._core import (  # noqa: E402
    Args,
    CallConfig,
    ChipHandle,
    ChipImage,
    ChipSpec,
    ErrorInfo,
    LibraryHandle,
    NodeInfo,
    Orchestrator,
    OrchHandle,
    RemoteWorkerSpec,
    Run,
    Scope,
    SubHandle,
    Task,
    TaskArgs,
    TaskHandle,
    Tensor,
    Worker,
    WorkerId,
)
from ._src.errors import (  # noqa: E402
    Cancelled,
    ChildLost,
    DeadlineExceeded,
    Error,
    InvalidArgument,
    RegistrationFailed,
    ResourceExhausted,
    StaleHandle,
    StartFailed,
    TaskFailed,
    WrongKind,
    WrongState,
)
from ._src.memory import keep_private  # noqa: E402
from ._src.native import get_include, get_library_dir  # noqa: E402

__all__ = [
    "Args",
    "CallConfig",
    "Cancelled",
    "ChildLost",
    "ChipHandle",
    "ChipImage",
    "ChipSpec",
    "DeadlineExceeded",
    "Error",
    "ErrorInfo",
    "InvalidArgument",
    "LibraryHandle",
    "NodeInfo",
    "OrchHandle",
    "Orchestrator",
    "RegistrationFailed",
    "RemoteWorkerSpec",
    "ResourceExhausted",
    "Run",
    "Scope",
    "StaleHandle",
    "StartFailed",
    "SubHandle",
    "Task",
    "TaskArgs",
    "TaskFailed",
    "TaskHandle",
    "Tensor",
    "Worker",
    "WorkerId",
    "WrongKind",
    "WrongState",
    "__version__",
    "get_include",
    "get_library_dir",
    "keep_private",
]
