#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`echelon demo` from Python: trains the digits classifier on a pod of hosts and chips, trains it
again with one host and one chip, and compares the parameters bit for bit.

The chips run the C++ kernels of ../kernel.cc; all else is Python and NumPy. The parameters are
those of the C++ program, bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from callables import load_kernels
from dataset import Dataset, make_dataset
from plan import TreeShape, steps_per_epoch
from report import ProgressBar, Summary, epoch_line, summary_json, summary_text
from table import BadData, read_csv
from trainer import EpochReport, Observer, Trained, TrainOptions, model_shape, train

import echelon as ec

SEED = 42
HOSTS_MAX = 4
CHIPS_MAX = 4
EPOCHS_MAX = 100_000
HIDDEN_MAX = 4096
PARAMETERS_MAX = 1 << 24
EPOCHS_DEFAULT = 25
HIDDEN_DEFAULT = 64
#: Held-out accuracy that the shipped data is to reach with at least the default epochs and hidden
#: units.
ACCURACY_MIN = 0.95

DIGITS = Path(__file__).resolve().parent.parent
DATA = DIGITS / "data" / "digits.csv.gz"
KERNEL = DIGITS.parent.parent / "build" / "lib" / "echelon" / "libdigits_kernel.so"

EXAMPLES = """examples:
  demo.py
  demo.py --hosts 4 --chips 1 --json
  demo.py --data measurements.csv --epochs 50 --hidden 32

The parameters are the same, bit for bit, for any number of hosts and chips.
"""


class BadOption(Exception):
    """What is wrong with the options, in one line."""


class Show(Observer):
    """A bar on standard error and, unless `quiet`, lines on standard output."""

    def __init__(self, bar: ProgressBar, epochs: int, quiet: bool) -> None:
        self._bar = bar
        self._epochs = epochs
        self._quiet = quiet

    def started(self, tree: str) -> None:
        self._say(tree if tree.endswith("\n") else tree + "\n")

    def step_done(self) -> None:
        self._bar.advance()

    def epoch_done(self, report: EpochReport) -> None:
        self._say(epoch_line(report, self._epochs))

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._bar.hide()
            print(text, flush=True)


def train_and_show(what: str, dataset: Dataset, options: TrainOptions, quiet: bool) -> Trained:
    steps = options.epochs * steps_per_epoch(len(dataset.training))
    bar = ProgressBar(sys.stderr, what, steps)
    try:
        return train(dataset, options, Show(bar, options.epochs, quiet))
    finally:
        bar.hide()


def train_and_compare(dataset: Dataset, options: TrainOptions, quiet: bool) -> Summary:
    trained = train_and_show("training ", dataset, options, quiet)
    alone = dataclasses.replace(options, tree=TreeShape(hosts=1, chips=1))
    reference = train_and_show("reference", dataset, alone, quiet=True)
    same = trained.parameters.tobytes() == reference.parameters.tobytes()
    return Summary(options, dataset, trained, same)


def check_size(dataset: Dataset, hidden: int) -> None:
    count = model_shape(dataset, hidden).parameter_count
    if count > PARAMETERS_MAX:
        raise BadOption(
            f"{dataset.features} features, {hidden} hidden units and {len(dataset.classes)} "
            f"classes make {count} parameters; at most {PARAMETERS_MAX} are possible"
        )


def run(given: argparse.Namespace) -> int:
    dataset = make_dataset(read_csv(given.data or DATA), SEED)
    check_size(dataset, given.hidden)
    kernels = load_kernels(DIGITS, KERNEL)
    if not given.json:
        print(
            f"{len(dataset.training)} rows to learn from, {len(dataset.held_out)} held out; "
            f"{dataset.features} features, {len(dataset.classes)} classes\n"
        )
    tree = TreeShape(given.hosts, given.chips)
    options = TrainOptions(tree, given.epochs, given.hidden, SEED, kernels)
    summary = train_and_compare(dataset, options, given.json)
    if given.json:
        print(json.dumps(summary_json(summary), indent=2))
    else:
        print(summary_text(summary))

    if not summary.identical_to_one_chip:
        return fail("the parameters differ from those of one host and one chip", 1)
    if must_learn(given) and summary.trained.last.accuracy < ACCURACY_MIN:
        return fail(f"the held-out accuracy is below {100 * ACCURACY_MIN:.0f} %", 1)
    return 0


def must_learn(given: argparse.Namespace) -> bool:
    default = given.epochs >= EPOCHS_DEFAULT and given.hidden >= HIDDEN_DEFAULT
    return default and not given.data


def fail(what: object, code: int) -> int:
    print(f"echelon demo: {what}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message} ({self.prog} --help says more)")


def add_count(
    parser: argparse.ArgumentParser, name: str, default: int, max: int, what: str
) -> None:
    """An option whose value lies in 1..max; its description says so."""

    def count(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = 0
        if not 1 <= value <= max:
            raise argparse.ArgumentTypeError(f"must be 1 to {max}, not {text}")
        return value

    about = f"{what}, 1 to {max} (default {default})"
    parser.add_argument(name, type=count, default=default, metavar="N", help=about)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="demo.py",
        description="Train a classifier on a tree of processes, and check it bit for bit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_count(parser, "--hosts", 2, HOSTS_MAX, "hosts of the pod")
    add_count(parser, "--chips", 2, CHIPS_MAX, "chips of each host")
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="CSV of numbers with an integer label last, gzip or not; else digits",
    )
    add_count(parser, "--epochs", EPOCHS_DEFAULT, EPOCHS_MAX, "times the data is gone through")
    add_count(parser, "--hidden", HIDDEN_DEFAULT, HIDDEN_MAX, "units of the hidden layer")
    parser.add_argument(
        "--json",
        action="store_true",
        help="the closing summary as one JSON object, and nothing else",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0; 1 if the parameters differ, the shipped data is not learnt, or the
    runtime failed; 2 if an option or the data is refused (one line on standard error says why)."""
    try:
        return run(parse(arguments))
    except (BadData, BadOption) as error:
        return fail(error, 2)
    except (ec.Error, OSError, MemoryError) as error:
        return fail(error, 1)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
