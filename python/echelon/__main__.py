# SPDX-License-Identifier: Apache-2.0
"""``python -m echelon``: the command line."""

from __future__ import annotations

import sys

from ._src.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
