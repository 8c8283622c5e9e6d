# SPDX-License-Identifier: Apache-2.0
"""Not public: nothing here is promised to stay."""

from __future__ import annotations
