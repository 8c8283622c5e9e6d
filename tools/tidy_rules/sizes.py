# SPDX-License-Identifier: Apache-2.0
"""Sizes: no file, function or parameter list beyond what the style allows."""

from __future__ import annotations

from tidy_rules.functions import functions_in

COLUMNS_MAX = 100
FILE_LINES_MAX = {"header": 500, "test": 1000, "source": 800}
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6


def kind_of(file):
    if file.is_test:
        return "test"
    return "header" if file.is_header else "source"


def file_size(file):
    kind = kind_of(file)
    if len(file.lines) > FILE_LINES_MAX[kind]:
        yield file.finding(
            1,
            "file-size",
            f"{len(file.lines)} lines; a {kind} file has at most {FILE_LINES_MAX[kind]}",
            "split it by concept",
        )


def columns(file):
    for number, line in enumerate(file.lines, 1):
        if len(line) > COLUMNS_MAX and "://" not in line and "#include" not in line:
            yield file.finding(
                number, "columns", f"{len(line)} columns; at most {COLUMNS_MAX}", "break the line"
            )


def function_size(file):
    if not file.is_cpp:
        return
    for function in functions_in(file):
        if function.body > FUNCTION_LINES_MAX:
            yield file.finding(
                function.line,
                "function-size",
                f"{function.name} has {function.body} lines; at most {FUNCTION_LINES_MAX}",
                "give a part of it a name of its own",
            )
        if function.parameters > PARAMETERS_MAX:
            yield file.finding(
                function.line,
                "parameters",
                f"{function.name} takes {function.parameters}; at most {PARAMETERS_MAX}",
                "an options struct",
            )


RULES = [file_size, columns, function_size]
