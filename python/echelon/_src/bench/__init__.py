# SPDX-License-Identifier: Apache-2.0
"""``python -m echelon bench``: what each step costs from Python (docs/design/0008-measuring.md)."""

from __future__ import annotations
