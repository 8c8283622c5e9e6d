# SPDX-License-Identifier: Apache-2.0
"""Where the parts of the package that are not Python lie."""

from __future__ import annotations

from pathlib import Path

from . import _core

#: Laid out as an installation: bin/, lib/, libexec/, include/. Beside the extension module, which
#: is elsewhere than this file where the package is installed editable.
NATIVE = Path(_core.__file__).resolve().parent.parent / "_native"


def get_include() -> str:
    """The folder of the C++ headers, for a compiler's -I.

    >>> (Path(ec.get_include()) / "echelon" / "chip_kernel.h").is_file()
    True
    """
    return str(NATIVE / "include")


def get_library_dir() -> str:
    """The folder of libechelon.so, for a linker's -L; libraries that workers load need no more.

    >>> (Path(ec.get_library_dir()) / "libechelon.so").is_file()
    True
    """
    return str(NATIVE / "lib")
