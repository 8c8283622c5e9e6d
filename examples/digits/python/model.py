# SPDX-License-Identifier: Apache-2.0
"""What the sub-workers know of the network: its parameters and a step of their training.

Forward and backward are the chips' (../model.h). All arithmetic here is elementwise, in float32
and float64, in the order of the C++: the same bits come out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from splitmix import Random

_RATE = np.float32(0.05)
_MOMENTUM = np.float32(0.9)
_FEATURES_AT_FULL_RATE = 128
#: Sums are integers on a grid of 2^-40 (../fixed_point.h): adding them rounds nothing, so that
#: their order does not matter.
_GRID = 2.0**-40


@dataclass(frozen=True)
class ModelShape:
    """features - hidden (ReLU) - classes (softmax)."""

    features: int
    hidden: int
    classes: int

    @property
    def parameter_count(self) -> int:
        first = self.features * self.hidden + self.hidden
        return first + self.hidden * self.classes + self.classes

    @property
    def sum_count(self) -> int:
        """The gradient, then the loss, then the number of samples."""
        return self.parameter_count + 2

    @property
    def rate(self) -> np.float32:
        """Falls with the number of features, as the length of an input grows with it."""
        features = max(self.features, _FEATURES_AT_FULL_RATE)
        return _RATE * (np.float32(_FEATURES_AT_FULL_RATE) / np.float32(features))


def initial_parameters(shape: ModelShape, seed: int) -> NDArray[np.float32]:
    """Uniform in +-sqrt(6 / inputs) (He et al. 2015), biases zero."""
    random = Random(seed)
    hidden_weights = _uniform(shape.features * shape.hidden, shape.features, random)
    class_weights = _uniform(shape.hidden * shape.classes, shape.hidden, random)
    hidden_biases = np.zeros(shape.hidden, np.float32)
    class_biases = np.zeros(shape.classes, np.float32)
    return np.concatenate([hidden_weights, hidden_biases, class_weights, class_biases])


def _uniform(count: int, inputs: int, random: Random) -> NDArray[np.float32]:
    bound = np.sqrt(np.float32(6.0) / np.float32(inputs))
    uniform: NDArray[np.float32] = bound * random.symmetric(count)
    return uniform


def descend(
    sums: NDArray[np.int64],
    rate: np.float32,
    parameters: NDArray[np.float32],
    velocity: NDArray[np.float32],
) -> tuple[float, float]:
    """One step of gradient descent with momentum by the mean over the batch that `sums` [sum_count]
    add up; changes `parameters` and `velocity`. Returns the batch's loss, summed, and its size."""
    gradient, loss, samples = sums[:-2], int(sums[-2]), float(sums[-1])
    mean = (gradient.astype(np.float64) * _GRID / samples).astype(np.float32)
    velocity *= _MOMENTUM
    velocity -= rate * mean
    parameters += velocity
    return loss * _GRID, samples
