# SPDX-License-Identifier: Apache-2.0
"""What the classifier learns from: a table, split into a training part and a held-out part, its
features standardised, its labels numbered as classes; as ../dataset.h, to the last bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from splitmix import permutation
from table import Table

#: One row in so many is held out, one at least.
HELD_OUT_ONE_IN = 5
#: Standardised features are cut off here, so that one outlier cannot undo the training.
FEATURE_MAX = 5.0

_SPLIT_STREAM = (1 << 64) - 1  # beyond the streams of the epochs


@dataclass(frozen=True)
class Rows:
    features: NDArray[np.float32]  # [rows, features]
    labels: NDArray[np.int32]  # [rows], class numbers

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    classes: NDArray[np.int64]  # class number to label, ascending
    training: Rows  # at least one row
    held_out: Rows  # at least one row

    @property
    def features(self) -> int:
        return int(self.training.features.shape[1])


def make_dataset(table: Table, seed: int) -> Dataset:
    """`seed` decides which rows are held out. `table` has at least two rows."""
    rows = len(table.labels)
    order = permutation(rows, seed, _SPLIT_STREAM)
    border = max(1, (rows + HELD_OUT_ONE_IN // 2) // HELD_OUT_ONE_IN)
    held_out, training = order[:border], order[border:]
    features = _standardised(table.values, training)
    classes = np.unique(table.labels)
    numbers = np.searchsorted(classes, table.labels).astype(np.int32)
    return Dataset(
        classes,
        Rows(features[training], numbers[training]),
        Rows(features[held_out], numbers[held_out]),
    )


def _standardised(values: NDArray[np.float64], training: NDArray[np.int32]) -> NDArray[np.float32]:
    """(value - mean) / standard deviation of the training rows, cut off at FEATURE_MAX; 0 where a
    column is constant there."""
    halves = values / 2  # so that no difference overflows
    known = halves[training]
    low = known.min(axis=0)
    extent = known.max(axis=0) - low
    constant = extent == 0
    extent[constant] = 1
    with np.errstate(over="ignore"):  # a held-out value that is far beyond; it is cut off below
        scaled = (halves - low) / extent
    off = scaled - _sum_in_order(scaled[training]) / len(training)
    deviation = np.sqrt(_sum_in_order(off[training] * off[training]) / len(training))
    deviation[constant] = 1
    clipped: NDArray[np.float64] = np.clip(off / deviation, -FEATURE_MAX, FEATURE_MAX)
    clipped[:, constant] = 0
    return clipped.astype(np.float32)


def _sum_in_order(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row after the other; np.sum() is free to choose an order of its own."""
    total = np.zeros(rows.shape[1])
    for row in rows:
        total += row
    return total
