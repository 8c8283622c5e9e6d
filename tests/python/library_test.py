# SPDX-License-Identifier: Apache-2.0
"""A C++ library built against the installed package, loaded into a running tree from Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import echelon as ec

SOURCE = """
#include <echelon/echelon.h>
ECHELON_SUB("triple", [](echelon::Task& task) {
  for (double& value : task.tensor<double>(0)) value *= 3;
});
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_a_library_linked_with_the_package_is_loaded_by_running_children(tmp_path: Path) -> None:
    source, library = tmp_path / "more.cc", tmp_path / "more.so"
    source.write_text(SOURCE)
    folders = [f"-I{ec.get_include()}", f"-L{ec.get_library_dir()}"]
    build = ["g++", "-std=c++20", "-shared", "-fPIC", "-O0", str(source), *folders, "-lechelon"]
    subprocess.run([*build, "-o", str(library)], check=True)
    with ec.Worker(level=3, sub_workers=2) as host:
        host.register_library(str(library))
        triple = host.register_sub("triple")
        x = host.tensor(np.arange(3.0))
        host.run(lambda orch: orch.submit(triple, ec.Args().inout(x)))
        np.testing.assert_array_equal(x.array(), [0, 3, 6])
