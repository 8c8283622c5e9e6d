# SPDX-License-Identifier: Apache-2.0
"""The rules behind tools/tidy.py: a module a subject, each a list of rules."""

from __future__ import annotations
