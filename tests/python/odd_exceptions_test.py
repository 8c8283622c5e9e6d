# SPDX-License-Identifier: Apache-2.0
"""Exceptions and results that cannot be pickled, loaded or printed as others can."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import echelon as ec
from echelon._src import bounded


class LoadsInto:
    """Raises `kind` where it is unpickled."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> Any:
        return exec, (f"raise {self.kind}(3)",)


class LoadsIntoError(Exception):
    def __reduce__(self) -> Any:
        return exec, (f"raise {self.args[1]}(3)",)


class PicklesInto(Exception):
    def __reduce__(self) -> Any:
        raise self.args[1](3)


@pytest.fixture()
def host() -> Iterator[ec.Worker]:
    with ec.Worker(level=3, sub_workers=1) as made:
        yield made


def raise_there(host: ec.Worker, make: Callable[[], BaseException]) -> ec.TaskFailed:
    """What comes back of it."""

    def function(task: ec.Task) -> None:
        raise make()

    handle = host.register_sub(function)
    with pytest.raises(ec.TaskFailed) as raised:
        host.run(lambda orch: orch.submit(handle).result())
    return raised.value


def return_there(host: ec.Worker, value: Callable[[], Any]) -> Any:
    handle = host.register_sub(lambda task: value())
    return host.run(lambda orch: orch.submit(handle).result())


def test_a_text_with_a_lone_surrogate_arrives_escaped(host: ec.Worker) -> None:
    error = raise_there(host, lambda: ValueError("caf\udce9.txt"))
    assert error.message == r"ValueError: caf\udce9.txt"
    assert r"caf\udce9.txt" in error.remote_traceback


def test_the_cause_keeps_its_lone_surrogate(host: ec.Worker) -> None:
    error = raise_there(host, lambda: ValueError("caf\udce9.txt"))
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.args == ("caf\udce9.txt",)


def test_a_lone_surrogate_in_a_submitted_function_is_told_escaped(host: ec.Worker) -> None:
    def function(orch: ec.Orchestrator) -> None:
        raise ValueError("caf\udce9.txt")

    with pytest.raises(ec.TaskFailed, match=r"caf\\udce9\.txt"):
        host.submit(function).wait()


@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_an_exception_whose_loading_raises_is_its_text(host: ec.Worker, kind: str) -> None:
    error = raise_there(host, lambda: LoadsIntoError("the message", kind))
    assert "the message" in error.message
    assert error.__cause__ is None


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_exception_whose_pickling_raises_is_its_text(host: ec.Worker, kind: type) -> None:
    error = raise_there(host, lambda: PicklesInto("the message", kind))
    assert "the message" in error.message
    assert error.__cause__ is None


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_result_that_cannot_be_unpickled_says_so(
    host: ec.Worker, kind: type[BaseException]
) -> None:
    with pytest.raises(ec.TaskFailed, match=f"unpickled here: {kind.__name__}: 3") as raised:
        return_there(host, lambda: LoadsInto(kind.__name__))
    assert isinstance(raised.value.__cause__, kind)


def test_the_worker_goes_on_after_a_result_that_cannot_be_unpickled(host: ec.Worker) -> None:
    with pytest.raises(ec.TaskFailed):
        return_there(host, lambda: LoadsInto("SystemExit"))
    assert return_there(host, lambda: 5) == 5


class Counted:
    """10 KB; counts how often it is pickled."""

    times = 0

    def __reduce__(self) -> Any:
        Counted.times += 1
        return bytes, (bytes([Counted.times % 256]) * 10_000,)


def test_a_pickle_stops_where_it_is_too_large() -> None:
    Counted.times = 0
    assert bounded.dumps([Counted() for _ in range(1000)], 100_000) is None
    assert Counted.times < 50


@pytest.mark.parametrize("value", [5, "text", [bytes(10_000)] * 9, {"a": bytes(99_000)}])
def test_a_pickle_within_its_limit_is_the_usual_one(value: Any) -> None:
    assert pickle.loads(bounded.dumps(value, 100_000) or b"") == value


def test_the_limit_is_reached_and_not_passed() -> None:
    size = len(pickle.dumps(bytes(99_000), 5))
    assert bounded.dumps(bytes(99_000), size) is not None
    assert bounded.dumps(bytes(99_000), size - 1) is None


def test_an_int_of_any_size_is_a_result(host: ec.Worker) -> None:
    assert return_there(host, lambda: 1 << 100_000) == 1 << 100_000


def test_a_result_far_too_large_is_refused(host: ec.Worker) -> None:
    with pytest.raises(ec.Error, match="more than 1048576 bytes; at most 1048576 are possible"):
        return_there(host, lambda: [bytes(1 << 20) for _ in range(64)])


def test_an_exception_far_too_large_is_its_text(host: ec.Worker) -> None:
    error = raise_there(host, lambda: KeyError("the message", bytes(1 << 20)))
    assert "the message" in error.message
    assert error.__cause__ is None
