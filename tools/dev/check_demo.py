#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what `echelon demo --json` printed: one object with its keys, identical to the reference.

tools/dev/check_demo.py FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

KEYS = {
    "accuracy",
    "identical_to_one_chip",
    "parameters_sha256",
    "tasks",
    "tasks_per_second",
    "seconds",
    "tree",
}
ACCURACY_MIN = 0.5  # of a few epochs; guessing gives 0.1


def main(path):
    summary = json.loads(Path(path).read_text(encoding="utf-8"))
    missing = KEYS - set(summary)
    if missing:
        return f"keys missing: {', '.join(sorted(missing))}"
    if summary["identical_to_one_chip"] is not True:
        return "the parameters differ from those of one host with one chip"
    if len(summary["parameters_sha256"]) != 64:
        return "parameters_sha256 is no SHA-256"
    if summary["accuracy"] < ACCURACY_MIN:
        return f"accuracy {summary['accuracy']}: it does not learn"
    print(f"demo: accuracy {summary['accuracy']:.3f}, {summary['tasks']} tasks, as on one chip")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
