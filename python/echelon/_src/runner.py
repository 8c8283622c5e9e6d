# SPDX-License-Identifier: Apache-2.0
"""What `echelon daemon` runs ahead of time to be its next session in Python.

python -m echelon._src.runner MODULES ADDRESS KEYS INSECURE ALLOWED: see src/api/daemon_main.cc.
All that takes long is done before anybody waits: this process has imported the package, NumPy and
cloudpickle when it is told what it is to be.
"""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np

from . import _core, bounded, modules, shipping, signatures, sources, streams

#: Imported for the session: its calls would find them missing, and import them, while it starts.
PREPARED = (np, bounded, shipping, signatures, sources, streams)


def may_name(listed: str, allowed: str) -> list[str] | None:
    """What import paths and pickles may name: the list; without one any module where pickles are
    allowed, as these bring code of their own, and else none."""
    if listed:
        return listed.split(",")
    return None if "pickle" in allowed.split(",") else []


def main(arguments: list[str]) -> None:
    """Does not return."""
    listed, *place = arguments
    modules.allow(may_name(listed, place[-1] if place else ""))
    # Some libraries, OpenBLAS for one, have made threads as they were loaded. They are told of a
    # fork, which ends them; it need not happen while somebody waits for this process to fork.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside those threads
        child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    _core._run_session(place)


if __name__ == "__main__":
    main(sys.argv[1:])
