# SPDX-License-Identifier: Apache-2.0
"""What the demo prints, as text and as JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from dataset import Dataset
from numpy.typing import NDArray
from trainer import EpochReport, Trained, TrainOptions

import echelon as ec

_BAR_WIDTH = 30


@dataclass(frozen=True)
class Summary:
    options: TrainOptions
    dataset: Dataset
    trained: Trained
    identical_to_one_chip: bool

    @property
    def tasks(self) -> int:
        return total_tasks(self.trained.tree)

    @property
    def tasks_per_second(self) -> float:
        return self.tasks / max(self.trained.seconds, 1e-9)


def parameters_sha256(parameters: NDArray[np.float32]) -> str:
    """Of the parameters as little-endian float32."""
    return hashlib.sha256(parameters.astype("<f4").tobytes()).hexdigest()


def total_tasks(node: ec.NodeInfo) -> int:
    """Callables run in a tree."""
    return node.tasks + sum(total_tasks(child) for child in node.children)


def epoch_line(report: EpochReport, epochs: int) -> str:
    """ "epoch  3/25   loss 0.0512   held-out accuracy 96.10 %   5123 tasks/s" """
    return (
        f"epoch {report.epoch:>{len(str(epochs))}}/{epochs}   loss {report.loss:.4f}   "
        f"held-out accuracy {100 * report.accuracy:.2f} %   {report.tasks_per_second:.0f} tasks/s"
    )


def summary_json(summary: Summary) -> dict[str, Any]:
    last, tree = summary.trained.last, summary.options.tree
    return {
        "accuracy": last.accuracy,
        "identical_to_one_chip": summary.identical_to_one_chip,
        "parameters_sha256": parameters_sha256(summary.trained.parameters),
        "tasks": summary.tasks,
        "tasks_per_second": summary.tasks_per_second,
        "seconds": summary.trained.seconds,
        "loss": last.loss,
        "hosts": tree.hosts,
        "host_count": tree.hosts,
        "chips_per_host": tree.chips,
        "epochs": summary.options.epochs,
        "hidden": summary.options.hidden,
        "features": summary.dataset.features,
        "classes": len(summary.dataset.classes),
        "training_rows": len(summary.dataset.training),
        "held_out_rows": last.held_out,
        "tree": _node_json(summary.trained.tree),
    }


def summary_text(summary: Summary) -> str:
    """The closing table and what was found, in lines."""
    last = summary.trained.last
    found = (
        "the same parameters, bit for bit"
        if summary.identical_to_one_chip
        else "DIFFERENT parameters"
    )
    return "\n".join(
        [
            "",
            node_table(summary.trained.tree),
            f"{summary.tasks} tasks in {summary.trained.seconds:.2f} s, "
            f"{summary.tasks_per_second:.0f} a second",
            f"held-out accuracy {100 * last.accuracy:.2f} % ({last.right} of {last.held_out} rows)",
            f"parameters' SHA-256: {parameters_sha256(summary.trained.parameters)}",
            f"reference with one host and one chip: {found}",
        ]
    )


def node_table(tree: ec.NodeInfo) -> str:
    """What every node did: a line a node, children indented below their parent."""
    width = max(_name_width(tree, 0), len("node"))
    head = f"{'node':<{width}}  kind        tasks  busy %        read     written"
    return "\n".join([head, *_node_lines(tree, 0, width), ""])


def _name_width(node: ec.NodeInfo, depth: int) -> int:
    here = 2 * depth + len(node.name)
    return max([here, *(_name_width(child, depth + 1) for child in node.children)])


def _node_lines(node: ec.NodeInfo, depth: int, width: int) -> list[str]:
    name = "  " * depth + node.name
    line = (
        f"{name:<{width}}  {node.kind:<6}  {node.tasks:>9}  {_busy_percent(node):>6.1f}  "
        f"{_bytes_text(node.bytes_in):>10}  {_bytes_text(node.bytes_out):>10}"
    )
    below = [_node_lines(child, depth + 1, width) for child in node.children]
    return [line, *(each for lines in below for each in lines)]


def _busy_percent(node: ec.NodeInfo) -> float:
    return 100 * node.busy / node.up if node.up > 0 else 0.0


def _bytes_text(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.1f} {unit}"


def _node_json(node: ec.NodeInfo) -> dict[str, Any]:
    return {
        "name": node.name,
        "path": node.path,
        "kind": node.kind,
        "level": node.level,
        "state": node.state,
        "pid": node.pid,
        "tasks": node.tasks,
        "tasks_failed": node.tasks_failed,
        "busy_seconds": node.busy,
        "busy_percent": _busy_percent(node),
        "bytes_in": node.bytes_in,
        "bytes_out": node.bytes_out,
        "lost_wakeups": node.lost_wakeups,
        "children": [_node_json(child) for child in node.children],
    }


class ProgressBar:
    """A bar on a terminal's last line; nothing where `out` is no terminal."""

    def __init__(self, out: TextIO, what: str, total: int) -> None:
        self._out = out
        self._what = what
        self._total = max(total, 1)
        self._done = 0
        self._percent_shown = -1
        self._terminal = out.isatty()

    def advance(self) -> None:
        self._done = min(self._done + 1, self._total)
        percent = 100 * self._done // self._total
        if self._terminal and percent != self._percent_shown:
            self._percent_shown = percent
            bar = "#" * (_BAR_WIDTH * self._done // self._total)
            self._write(f"\r{self._what}  [{bar:-<{_BAR_WIDTH}}] {percent:>3} %")

    def hide(self) -> None:
        """Clears the line, for others to write; advance() shows it again."""
        if self._terminal and self._percent_shown >= 0:
            self._percent_shown = -1
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
