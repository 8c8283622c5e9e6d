# SPDX-License-Identifier: Apache-2.0
"""Reads a table of numbers: lines of comma-separated numbers, an integer label last.

Taken as they come, as in ../csv.h: a header line or none, LF or CRLF, blanks around numbers,
numbers in double quotes, empty lines, a byte order mark, gzip. The first line is a header if one of
its fields is neither empty nor a number.
"""

from __future__ import annotations

import array
import math
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

#: Unpacked text beyond this is refused.
TEXT_BYTES_MAX = 1 << 30

_EXCERPT_MAX = 24  # characters of a field that an error quotes
_INT64_DIGITS = 19
_BLANK = " \t\r"
_GZIP_MAGIC = b"\x1f\x8b"
_NUMBER = re.compile(
    r"(?:\+(?!-))?-?"
    r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan(?:\([a-z0-9_]*\))?)",
    re.IGNORECASE,
)
_INTEGER = re.compile(r"(?:\+(?!-))?-?[0-9]+")


class BadData(Exception):
    """What is wrong with a file, in one line: "FILE:LINE: ..." or "FILE: ..."."""


@dataclass(frozen=True)
class Table:
    values: NDArray[np.float64]  # [rows, features], finite
    labels: NDArray[np.int64]  # [rows], not all alike


def read_csv(path: str | Path) -> Table:
    """Raises BadData: cannot be read, damaged gzip, ragged, not numbers, no rows, labels alike."""
    name = os.fspath(path)
    text = _read_bytes(name).decode("utf-8", errors="replace")
    return _Parser(name).parse(text)


def _read_bytes(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            raw = file.read(TEXT_BYTES_MAX + 1)
    except IsADirectoryError as error:
        _refuse(name, f"cannot be read: {error.strerror}")
    except OSError as error:
        _refuse(name, f"cannot be opened: {error.strerror}")
    if raw.startswith(_GZIP_MAGIC):
        raw = _unpack(raw, name)
    elif raw and name.endswith(".gz"):
        _refuse(name, "is not gzip data, though its name says so")
    if len(raw) > TEXT_BYTES_MAX:
        _refuse(name, f"holds more than {TEXT_BYTES_MAX >> 20} MiB of text")
    return raw


def _unpack(packed: bytes, name: str) -> bytes:
    """All members of a gzip file; what follows them and is none is left out, as gzip does."""
    text = bytearray()
    while packed.startswith(_GZIP_MAGIC) and len(text) <= TEXT_BYTES_MAX:
        member = zlib.decompressobj(wbits=31)  # 31: with gzip's header and check sum
        try:
            text += member.decompress(packed, TEXT_BYTES_MAX + 1 - len(text))
        except zlib.error:
            _refuse(name, "is damaged: its gzip data does not unpack")
        if not member.eof and len(text) <= TEXT_BYTES_MAX:
            _refuse(name, "is cut short: its gzip data does not end")
        packed = member.unused_data
    return bytes(text)


class _Parser:
    def __init__(self, name: str) -> None:
        self._name = name
        self._first_line = 0  # of those that are not empty; 0: none yet
        self._columns = 0
        self._values = array.array("d")
        self._labels = array.array("q")

    def parse(self, text: str) -> Table:
        text = text[1:] if text.startswith("\ufeff") else text
        for number, line in enumerate(text.split("\n"), 1):
            line = line.strip(_BLANK)
            if line:
                self._take_line([_unquoted(field) for field in line.split(",")], number)
        self._check_whole()
        values = np.array(self._values).reshape(len(self._labels), self._columns - 1)
        return Table(values, np.array(self._labels))

    def _take_line(self, fields: list[str], number: int) -> None:
        if self._first_line == 0:
            self._first_line = number
            self._columns = len(fields)
            if any(field and not _NUMBER.fullmatch(field) for field in fields):
                return  # a header
        self._check_columns(len(fields), number)
        for column, field in enumerate(fields[:-1], 1):
            self._values.append(self._value(field, column, number))
        self._labels.append(self._label(fields[-1], number))

    def _check_columns(self, count: int, number: int) -> None:
        if count != self._columns:
            plural = "" if count == 1 else "s"
            self._refuse_line(
                number,
                f"{count} column{plural} where line {self._first_line} has {self._columns}",
            )
        if count < 2:
            self._refuse_line(
                number, "one column; at least one number and then the label are needed"
            )

    def _value(self, field: str, column: int, number: int) -> float:
        wrong = "is not a number"
        if not field:
            self._refuse_line(number, f"column {column} is empty")
        if _NUMBER.fullmatch(field):
            value = _as_float(field)
            if _is_beyond(field, value):
                wrong = "is beyond what a number can be"
            elif math.isfinite(value):
                return value
            else:
                wrong = "is not a finite number"
        return self._refuse_line(number, f"column {column}: '{_excerpt(field)}' {wrong}")

    def _label(self, field: str, number: int) -> int:
        if not field:
            self._refuse_line(number, "the label, the last column, is empty")
        label = _parse_label(field)
        if label is None:
            self._refuse_line(
                number, f"the label, the last column, is '{_excerpt(field)}', not an integer"
            )
        return label

    def _check_whole(self) -> None:
        if self._first_line == 0:
            _refuse(self._name, "is empty")
        if not self._labels:
            _refuse(self._name, "holds a header line and no rows")
        if min(self._labels) == max(self._labels):
            _refuse(
                self._name,
                f"every label is {self._labels[0]}; at least two different ones are needed",
            )

    def _refuse_line(self, number: int, what: str) -> NoReturn:
        raise BadData(f"{_printable(self._name)}:{number}: {what}")


def _unquoted(field: str) -> str:
    field = field.strip(_BLANK)
    if len(field) >= 2 and field[0] == field[-1] == '"':
        field = field[1:-1].strip(_BLANK)
    return field


def _as_float(number: str) -> float:
    return float(number.split("(")[0])  # "nan(...)" is C's


def _is_beyond(field: str, value: float) -> bool:
    """Whether a number is too large for a float64, or too close to zero."""
    if math.isinf(value):
        return "n" not in field.lower()  # not "inf" itself
    return value == 0 and re.search("[1-9]", re.split("[eE]", field)[0]) is not None


def _parse_label(field: str) -> int | None:
    """ "7", and "7.0" and "7e0", too, as programs write tables of floating-point numbers."""
    digits = field.lstrip("+-0") or "0"
    if _INTEGER.fullmatch(field) and len(digits) <= _INT64_DIGITS:
        label = -int(digits) if "-" in field else int(digits)
        if -(2**63) <= label < 2**63:
            return label
    if not _NUMBER.fullmatch(field):
        return None
    value = _as_float(field)
    if _is_beyond(field, value):
        return None
    return int(value) if abs(value) <= 2**53 and value.is_integer() else None


def _printable(text: str) -> str:
    return "".join("?" if ord(c) < 0x20 or ord(c) == 0x7F else c for c in text)


def _excerpt(field: str) -> str:
    return _printable(field[:_EXCERPT_MAX]) + ("..." if len(field) > _EXCERPT_MAX else "")


def _refuse(name: str, what: str) -> NoReturn:
    raise BadData(f"{_printable(name)}: {what}")
