# SPDX-License-Identifier: Apache-2.0
"""What calls say to arguments that they cannot take."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import echelon as ec


class Forgetful(ec.Args):
    def __init__(self) -> None:
        pass


@pytest.fixture()
def host() -> ec.Worker:
    return ec.Worker(level=3, sub_workers=1)


@pytest.fixture()
def running() -> Iterator[ec.Worker]:
    with ec.Worker(level=3, sub_workers=1) as made:
        yield made


UNMADE_TENSOR: Any = ec.Tensor.__new__(ec.Tensor)

USES_OF_WHAT_WAS_NEVER_MADE: dict[str, Callable[[], Any]] = {
    "scalar": lambda: ec.Args.__new__(ec.Args).scalar(1),
    "a subclass": lambda: Forgetful().scalar(1),
    "array": lambda: UNMADE_TENSOR.array(),
    "buffer": lambda: memoryview(UNMADE_TENSOR),
    "dlpack": lambda: np.from_dlpack(UNMADE_TENSOR),
    "input": lambda: ec.Args().input(UNMADE_TENSOR),
    "start": lambda: ec.Worker.__new__(ec.Worker).start(),
    "enter": lambda: ec.Worker.__new__(ec.Worker).__enter__(),
    "unregister": lambda: ec.Worker(level=3).unregister(ec.SubHandle.__new__(ec.SubHandle)),
}


@pytest.mark.parametrize("use", list(USES_OF_WHAT_WAS_NEVER_MADE))
def test_what_was_never_initialized_is_refused(use: str) -> None:
    with pytest.raises(TypeError):
        USES_OF_WHAT_WAS_NEVER_MADE[use]()


def test_a_subclass_is_told_to_call_our_init() -> None:
    with pytest.raises(TypeError, match=r"Forgetful was never initialized.*super\(\).__init__"):
        Forgetful().scalar(1)


def test_a_subclass_that_calls_our_init_works() -> None:
    class Remembers(ec.Args):
        def __init__(self) -> None:
            super().__init__()

    assert "1 scalars" in repr(Remembers().scalar(1))


WRONG_OPTIONS_OF_SUBMIT: dict[str, tuple[dict[str, Any], str]] = {
    "worker": ({"worker": 3}, "worker: a WorkerId .* was expected, not 3"),
    "after": ({"after": 1}, "after: a TaskHandle, or .* was expected, not 1"),
    "after, in a list": ({"after": [1]}, "after: a TaskHandle, or .* was expected, not 1"),
    "args": ({"args": {}}, r"args: an Args was expected, not \{\}"),
    "config": ({"config": {}}, r"config: a CallConfig was expected, not \{\}"),
}


@pytest.mark.parametrize("wrong", list(WRONG_OPTIONS_OF_SUBMIT))
def test_an_option_of_another_type_is_refused_by_submit(running: ec.Worker, wrong: str) -> None:
    handle = running.register_sub(lambda task: None)
    options, message = WRONG_OPTIONS_OF_SUBMIT[wrong]
    with pytest.raises(TypeError, match=message):
        running.run(lambda orch: orch.submit(handle, **options))


def test_a_config_of_another_type_is_refused_by_run(host: ec.Worker) -> None:
    wrong: Any = 1
    with pytest.raises(TypeError, match="config: a CallConfig was expected, not 1"):
        host.run(lambda orch: None, config=wrong)


def test_a_name_that_is_no_text_is_refused(host: ec.Worker) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="name: a str was expected, not 5"):
        host.register_sub(lambda task: None, wrong)


def test_a_name_with_half_a_surrogate_pair_is_refused(host: ec.Worker) -> None:
    with pytest.raises(ValueError, match=r"name: '\\udcff' holds half of a surrogate pair"):
        host.register_sub(lambda task: None, "\udcff")


def test_an_extent_beyond_64_bits_is_refused(host: ec.Worker) -> None:
    with pytest.raises(ValueError, match="shape: 18446744073709551616 is beyond 64 bits"):
        host.tensor((2**64,), np.float32)


WRONG_CHIPS: dict[str, tuple[Any, type[Exception], str]] = {
    "too many": (10**20, ValueError, "chips: 100000000000000000000 is beyond 64 bits"),
    "too many yet": (10**12, ValueError, "chips: 1000000000000 of them"),
    "a number below 0": (-1, ValueError, "chips: -1 of them"),
    "a text": ("cpu:0", TypeError, "chips: a number .*, or a list .* was expected, not 'cpu:0'"),
    "a truth": (True, TypeError, "chips: .* not True"),
    "nothing": (None, TypeError, "chips: .* not None"),
    "a list of numbers": ([1], TypeError, "chips: .* not 1"),
    "no number": (["cpu:x"], ValueError, "\"driver:device\" was expected, .* not 'cpu:x'"),
    "a device below 0": (["cpu:-1"], ValueError, '"driver:device" was expected, .* not'),
    "a spec below 0": ([ec.ChipSpec("cpu", -1)], ValueError, "counted from 0"),
}


@pytest.mark.parametrize("wrong", list(WRONG_CHIPS))
def test_what_is_no_chip_is_refused(wrong: str) -> None:
    chips, error, message = WRONG_CHIPS[wrong]
    with pytest.raises(error, match=message):
        ec.Worker(chips=chips)


def test_a_folder_is_no_library(running: ec.Worker, tmp_path: Path) -> None:
    with pytest.raises(ec.InvalidArgument, match="is a folder"):
        running.register_library(tmp_path)


def test_a_number_is_no_path(running: ec.Worker) -> None:
    wrong: Any = 3
    with pytest.raises(TypeError, match="path: a str or an os.PathLike was expected, not 3"):
        running.register_library(wrong)


NONE: Any = None

CALLS_WITH_NOTHING: dict[str, tuple[Callable[[ec.Worker], Any], str]] = {
    "submit": (
        lambda host: host.run(lambda orch: orch.submit(NONE)),
        "submit: a handle was expected, not NoneType",
    ),
    "run": (lambda host: host.run(NONE), "run: a function was expected, not None"),
    "register_sub": (lambda host: host.register_sub(NONE), "a function was expected, not None"),
    "timeout": (
        lambda host: host.register_sub(print, timeout=NONE),
        "timeout: seconds or a datetime.timedelta was expected, not None",
    ),
    "add_worker": (lambda host: host.add_worker(NONE), "a Worker was expected, not None"),
    "register_chip": (lambda host: host.register_chip("a", NONE), "image: a ChipImage .* not None"),
    "unregister": (lambda host: host.unregister(NONE), "a handle was expected, not NoneType"),
    "register_library": (lambda host: host.register_library(NONE), "path: .* not None"),
    "input": (lambda host: ec.Args().input(NONE), "a Tensor was expected, not NoneType"),
    "chip_tensor": (lambda host: host.chip_tensor(0, NONE, "float32"), "shape: .* not None"),
}


@pytest.mark.parametrize("call", list(CALLS_WITH_NOTHING))
def test_none_is_refused_in_words(host: ec.Worker, call: str) -> None:
    function, message = CALLS_WITH_NOTHING[call]
    with host, pytest.raises(TypeError, match=message):
        function(host)


def yields(task: ec.Task) -> Iterator[int]:
    yield 1


async def waits(task: ec.Task) -> int:
    return 1


class WaitsWhenCalled:
    async def __call__(self, task: ec.Task) -> int:
        return 1


UNFINISHED: dict[str, tuple[Any, str]] = {
    "a generator": (yields, r"register_sub: yields is a generator function"),
    "a coroutine": (waits, r"register_sub: waits is a coroutine function \(async def\)"),
    "a partial": (functools.partial(waits), "is a coroutine function"),
    "an object": (WaitsWhenCalled(), "is a coroutine function"),
}


@pytest.mark.parametrize("kind", list(UNFINISHED))
def test_what_returns_a_generator_or_a_coroutine_is_refused(host: ec.Worker, kind: str) -> None:
    function, message = UNFINISHED[kind]
    with pytest.raises(TypeError, match=message):
        host.register_sub(function)


def test_a_coroutine_function_is_no_orchestration_function(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="register_orch: waits is a coroutine function"):
        host.register_orch(waits)


def test_a_class_whose_objects_are_coroutines_is_a_function(host: ec.Worker) -> None:
    made: Any = WaitsWhenCalled
    assert host.register_sub(made).name == "WaitsWhenCalled"


def test_an_import_path_to_a_generator_function_is_refused(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="os:fwalk: fwalk is a generator function"):
        host.register_sub("os:fwalk")


def test_a_config_is_copied_and_pickled_whole() -> None:
    config = ec.CallConfig(grid=(4, 2, 1), cores=3, profiling=1, values={"seed": "7"})
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_worker_id_is_copied_and_pickled(host: ec.Worker) -> None:
    first = host.sub_worker(0)
    assert copy.copy(first) == first
    assert pickle.loads(pickle.dumps(first)) == first


def test_a_chip_spec_is_copied_and_pickled() -> None:
    spec = ec.ChipSpec("cpu", 3)
    assert repr(copy.copy(spec)) == repr(spec) == repr(pickle.loads(pickle.dumps(spec)))


def test_a_shipped_closure_may_hold_small_values_of_ours(running: ec.Worker) -> None:
    config, first = ec.CallConfig(cores=3), running.sub_worker(0)
    handle = running.register_sub(lambda task: (config.cores, first.value))
    assert running.run(lambda orch: orch.submit(handle).result()) == (3, 0)


CONTROL_NAMES = ["a\nb", "a\x1b[31m", "\x7f", "a\0b"]


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_a_callables_name_has_no_control_characters(host: ec.Worker, name: str) -> None:
    with pytest.raises(ec.InvalidArgument, match=r"\\x.*has control characters"):
        host.register_sub(lambda task: None, name)


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_a_late_callables_name_has_no_control_characters(running: ec.Worker, name: str) -> None:
    with pytest.raises(ec.InvalidArgument, match=r"\\x.*has control characters"):
        running.register_sub(lambda task: None, name)


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_a_workers_name_has_no_control_characters(name: str) -> None:
    with pytest.raises(ec.InvalidArgument, match=r"\\x.*has control characters"):
        ec.Worker(name=name)
