# SPDX-License-Identifier: Apache-2.0
"""Which interpreters the package runs in."""

from __future__ import annotations

import sys
import sysconfig


def check() -> None:
    """Raises ImportError where the package cannot work, saying why."""
    if not sys.platform.startswith("linux"):
        raise ImportError(f"Echelon runs on Linux; this is {sys.platform}")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise ImportError(
            "Echelon does not support free-threaded Python: its processes are forked under the "
            "interpreter's lock, which this build has not; use the ordinary build of Python "
            f"{sys.version_info.major}.{sys.version_info.minor}"
        )
