# SPDX-License-Identifier: Apache-2.0
"""What README.md names for `pip install .` is what ./dev installs for it."""

from __future__ import annotations

import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Packages(unittest.TestCase):
    def test_the_readme_names_those_that_pip_needs(self) -> None:
        readme = (ROOT / "README.md").read_text().replace("\\\n", " ")
        named = re.search(r"^apt-get install (.*)$", readme, re.MULTILINE)
        self.assertIsNotNone(named)
        script = ROOT / "tools" / "dev" / "packages.sh"
        wanted = subprocess.run(
            [
                "bash",
                "-c",
                f'. "{script}"; echo "${{PACKAGES_TO_RUN[@]}}" "${{PACKAGES_FOR_PYTHON[@]}}"',
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.assertEqual(named.group(1).split(), wanted.split())


if __name__ == "__main__":
    unittest.main()
