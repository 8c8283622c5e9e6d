# SPDX-License-Identifier: Apache-2.0
"""Functions that are registered while the tree runs."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import echelon as ec


@pytest.fixture()
def host() -> Iterator[ec.Worker]:
    with ec.Worker(level=3, sub_workers=2) as made:
        yield made


@pytest.fixture()
def pod() -> Iterator[ec.Worker]:
    made = ec.Worker(level=4)
    for i in range(2):
        made.add_worker(ec.Worker(level=3, name=f"host{i}", sub_workers=1))
    with made:
        yield made


def call(worker: ec.Worker, handle: ec.SubHandle, *scalars: Any) -> Any:
    args = ec.Args()
    for scalar in scalars:
        args.scalar(scalar)
    return worker.run(lambda orch: orch.submit(handle, args).result())


def refused_by(error: ec.Error) -> list[str]:
    return sorted(other.path for other in error.others if other.code != "ok")


def scale(task: ec.Task) -> None:
    x, y = task.arrays()
    y[:] = task.scalars[0] * x


def number_of(number: int) -> Callable[[ec.Task], int]:
    return lambda task: number


class RaisesWhenUnpickled:
    def __reduce__(self) -> Any:
        return eval, ("1 / 0",)

    def __call__(self, task: ec.Task) -> None:
        pass


class ExitsWhenUnpickled(RaisesWhenUnpickled):
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class EndsItsProcessWhenUnpickled(RaisesWhenUnpickled):
    def __reduce__(self) -> Any:
        return os._exit, (3,)


class IsNoFunctionWhenUnpickled(RaisesWhenUnpickled):
    def __reduce__(self) -> Any:
        return int, (3,)


def test_the_smallest_program_with_its_function_registered_after_the_start(host: ec.Worker) -> None:
    h = host.register_sub(scale)
    x, y = host.tensor(np.arange(4, dtype=np.float32)), host.tensor((4,), np.float32)
    host.run(lambda orch: orch.submit(h, ec.Args().input(x).output(y).scalar(3.0)))
    np.testing.assert_array_equal(y.array(), [0, 3, 6, 9])


def test_a_shipped_closure_carries_a_copy(host: ec.Worker) -> None:
    captured = {"a": [1, 2]}
    handle = host.register_sub(lambda task: captured)
    captured["a"].append(3)
    assert call(host, handle) == {"a": [1, 2]}


def test_a_pod_without_sub_workers_registers_while_it_runs_and_both_hosts_run_it(
    pod: ec.Worker,
) -> None:
    where = pod.register_sub(lambda task: task.path)

    def on_host(orch: ec.Orchestrator) -> Any:
        return orch.submit(where).result()

    each = pod.register_orch(on_host)

    def both(orch: ec.Orchestrator) -> Any:
        tasks = [orch.submit(each, worker=orch.worker(i)) for i in range(2)]
        return [task.result() for task in tasks]

    assert pod.run(both) == ["pod0/host0/sub0", "pod0/host1/sub0"]


def test_an_orchestration_function_takes_arguments_and_config_when_shipped(pod: ec.Worker) -> None:
    each = pod.register_orch(lambda orch, args, config: (args.scalars, config.grid))
    config = ec.CallConfig(grid=(2, 1, 1))
    args = ec.Args().scalar(5)
    got = pod.run(lambda orch: orch.submit(each, args, config=config).result())
    assert got == ((5,), (2, 1, 1))


def test_registering_while_a_run_is_in_flight(host: ec.Worker) -> None:
    def slow(task: ec.Task) -> None:
        while not task.cancelled():
            time.sleep(0.001)

    slowly = host.register_sub(slow)
    run = host.submit(lambda orch: orch.submit(slowly, worker=orch.sub_worker(0)))
    handle = host.register_sub(lambda task: "registered meanwhile")
    assert call(host, handle) == "registered meanwhile"
    run.cancel()
    with pytest.raises(ec.Cancelled):
        run.wait()


def test_several_threads_register_at_once(host: ec.Worker) -> None:
    results: dict[int, Any] = {}

    def register(number: int) -> None:
        results[number] = call(host, host.register_sub(lambda task: number))

    threads = [threading.Thread(target=register, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i for i in range(8)}


def test_an_import_path_ships_only_the_name(host: ec.Worker, tmp_path: Path) -> None:
    handle = host.register_sub("os:getpid")
    with pytest.raises(ec.TaskFailed, match="takes no arguments"):
        call(host, handle)


def test_a_module_that_children_cannot_import_fails_at_register(host: ec.Worker) -> None:
    with pytest.raises(ec.RegistrationFailed, match="no_such_module") as raised:
        host.register_sub("no_such_module:function")
    assert refused_by(raised.value) == ["host0/sub0", "host0/sub1"]


def test_a_function_of_a_module_that_only_the_program_has_fails_at_register(
    host: ec.Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def function(task):\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    with pytest.raises(ec.RegistrationFailed, match="only_here"):
        host.register_sub(only_here.function)
    del sys.modules["only_here"]


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (RaisesWhenUnpickled(), "ZeroDivisionError"),
        (ExitsWhenUnpickled(), "SystemExit"),
        (IsNoFunctionWhenUnpickled(), "cannot be called"),
    ],
)
def test_a_payload_that_does_not_become_a_function_fails_at_register(
    host: ec.Worker, thing: Any, words: str
) -> None:
    with pytest.raises(ec.RegistrationFailed, match=words) as raised:
        host.register_sub(thing)
    assert refused_by(raised.value) == ["host0/sub0", "host0/sub1"]
    assert call(host, host.register_sub(lambda task: "still usable")) == "still usable"


def test_a_payload_that_ends_its_process_is_that_childs_answer(host: ec.Worker) -> None:
    with pytest.raises(ec.RegistrationFailed) as raised:
        host.register_sub(EndsItsProcessWhenUnpickled())
    assert refused_by(raised.value) == ["host0/sub0", "host0/sub1"]
    assert "its process exited with code 3" in str(raised.value)


def test_those_that_a_payload_ended_stay_dead(host: ec.Worker) -> None:
    before = host.register_sub(lambda task: 1)
    with pytest.raises(ec.RegistrationFailed, match="registered in none"):
        host.register_sub(EndsItsProcessWhenUnpickled())
    assert host.describe().count("down: its process exited with code 3") == 2
    with pytest.raises(ec.Error, match="no live child of host0 can run"):
        call(host, before)
    with pytest.raises(ec.RegistrationFailed, match="every process that could is dead"):
        host.register_sub(lambda task: 2)


def test_a_pod_whose_hosts_have_lost_their_sub_workers_takes_no_sub_function(
    pod: ec.Worker,
) -> None:
    with pytest.raises(ec.RegistrationFailed, match="registered in none"):
        pod.register_sub(EndsItsProcessWhenUnpickled())
    with pytest.raises(ec.RegistrationFailed, match="every process that could is dead"):
        pod.register_sub(lambda task: 1)


def test_a_callable_that_fails_its_first_call_is_that_tasks_error(host: ec.Worker) -> None:
    handle = host.register_sub(lambda task: 1 / 0)
    with pytest.raises(ec.TaskFailed, match="ZeroDivisionError"):
        call(host, handle)


def test_what_cannot_be_shipped_is_refused_by_name_and_path(host: ec.Worker) -> None:
    lock = threading.Lock()

    def scale(task: ec.Task) -> None:
        with lock:
            pass

    where = "test_what_cannot_be_shipped_is_refused_by_name_and_path.<locals>.scale"
    with pytest.raises(TypeError, match=f"{where}.<closure>.lock: a threading.Lock cannot"):
        host.register_sub(scale)


def test_a_handle_of_another_tree_is_refused(host: ec.Worker) -> None:
    foreign = ec.Worker(level=3, sub_workers=1).register_sub(scale)
    with pytest.raises(TypeError, match="handle of another tree"):
        host.register_sub(lambda task: foreign)


def test_a_handle_of_this_tree_is_shipped(pod: ec.Worker) -> None:
    inner = pod.register_sub(lambda task: "inner")
    each = pod.register_orch(lambda orch: orch.submit(inner).result())
    assert pod.run(lambda orch: orch.submit(each).result()) == "inner"


def test_the_same_function_is_the_same_thing_and_is_counted(host: ec.Worker) -> None:
    first, second = host.register_sub(scale), host.register_sub(scale)
    assert first == second
    host.unregister(first)
    x = host.tensor((1,), np.int8)
    host.run(lambda orch: orch.submit(second, ec.Args().input(x).output(x).scalar(1)))
    host.unregister(second)
    with pytest.raises(ec.Error):
        host.run(lambda orch: orch.submit(second))


def test_a_handle_after_unregister_is_refused(host: ec.Worker) -> None:
    handle = host.register_sub(lambda task: None)
    host.unregister(handle)
    with pytest.raises(ec.Error, match="unregister"):
        call(host, handle)
    with pytest.raises(ec.StaleHandle):
        host.unregister(handle)


def test_a_name_given_twice_with_other_content_is_refused(host: ec.Worker) -> None:
    host.register_sub(lambda task: 1, name="one")
    with pytest.raises(ec.InvalidArgument, match="one"):
        host.register_sub(lambda task: 2, name="one")


def test_unregistering_what_is_no_handle_is_a_type_error(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="a handle was expected"):
        host.unregister(3)  # type: ignore[arg-type]


def test_an_inherited_function_cannot_be_unregistered() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    handle = host.register_sub(scale)
    with host, pytest.raises(ec.InvalidArgument, match="before start"):
        host.unregister(handle)


@pytest.mark.parametrize("times", [1, 2])
def test_an_inherited_function_stays_known_after_a_refused_unregister(times: int) -> None:
    host = ec.Worker(level=3, sub_workers=1)
    handles = [host.register_sub(scale) for _ in range(times)]
    with host:
        for handle in handles:
            with pytest.raises(ec.InvalidArgument, match="before start"):
                host.unregister(handle)
        assert host.register_sub(scale) == handles[0]


def test_a_function_is_shipped_again_to_a_tree_that_was_started_again() -> None:
    host = ec.Worker(level=3, sub_workers=1)

    def answer(task: ec.Task) -> str:
        return "answered"

    with host:
        before = host.register_sub(answer)
        assert call(host, before) == "answered"
    with host:
        after = host.register_sub(answer)
        assert after != before
        assert call(host, after) == "answered"
        with pytest.raises(ec.StaleHandle):
            host.unregister(before)
        assert call(host, after) == "answered"


def test_a_shipped_function_is_inherited_when_registered_after_close() -> None:
    host = ec.Worker(level=3, sub_workers=1)

    def answer(task: ec.Task) -> str:
        return "answered"

    with host:
        host.register_sub(answer)
    handle = host.register_sub(answer)
    with host:
        assert call(host, handle) == "answered"
        with pytest.raises(ec.InvalidArgument, match="before start"):
            host.unregister(handle)


def test_a_child_worker_objects_function_is_shipped_again_after_the_root_was_closed() -> None:
    top = ec.Worker(level=4, name="top")
    below = ec.Worker(level=3, name="below", sub_workers=1)
    top.add_worker(below)

    def answer(task: ec.Task) -> str:
        return "answered"

    def on_first_child(worker: ec.Worker, handle: ec.SubHandle) -> Any:
        each = worker.register_orch(lambda orch: orch.submit(handle).result())
        return worker.run(lambda orch: orch.submit(each).result())

    for _ in range(2):
        with top:
            mine = below.register_sub(answer)
            assert on_first_child(top, mine) == "answered"


def test_a_child_worker_object_registers_for_its_own_subtree(pod: ec.Worker) -> None:
    other = ec.Worker(level=4, name="top")
    below = ec.Worker(level=3, name="below", sub_workers=1)
    other.add_worker(below)
    with other:
        mine = below.register_sub(lambda task: "below's")
        each = other.register_orch(lambda orch: orch.submit(mine).result())
        assert other.run(lambda orch: orch.submit(each).result()) == "below's"


def test_a_thousand_functions_each_answer_for_themselves(host: ec.Worker) -> None:
    handles = [host.register_sub(number_of(i)) for i in range(1000)]

    def all_of_them(orch: ec.Orchestrator) -> list[Any]:
        return [orch.submit(handle).result() for handle in handles]

    assert host.run(all_of_them) == list(range(1000))
    assert len({handle.name for handle in handles}) == 1000


def memory_of(pid: int) -> int:
    """Kilobytes that only this process has."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def test_registering_and_unregistering_leaks_nothing_in_any_process(host: ec.Worker) -> None:
    def pairs(count: int) -> None:
        for i in range(count):
            host.unregister(host.register_sub(number_of(i)))

    pids = [os.getpid(), *(child.pid for child in host.tree().children)]
    pairs(1000)
    before = [(memory_of(pid), len(os.listdir(f"/proc/{pid}/fd"))) for pid in pids]
    pairs(3000)
    after = [(memory_of(pid), len(os.listdir(f"/proc/{pid}/fd"))) for pid in pids]
    for (kilobytes, files), (kilobytes_then, files_then) in zip(before, after):
        assert files_then <= files + 2
        assert kilobytes_then - kilobytes < 3000  # less than 1 KiB a pair


def test_the_childs_own_lines_are_in_a_shipped_functions_traceback(host: ec.Worker) -> None:
    def fail(task: ec.Task) -> None:
        raise LookupError("here")  # the line itself

    with pytest.raises(ec.TaskFailed) as raised:
        call(host, host.register_sub(fail))
    assert "the line itself" in raised.value.remote_traceback


def test_a_chip_kernel_is_registered_while_the_tree_runs() -> None:
    source = textwrap.dedent(
        """
        #include <echelon/chip_kernel.h>
        ECHELON_KERNEL(fill) {
          for (auto& value : echelon::kernel::values<float>(args, context, 0)) value = 7;
        }
        """
    )
    image = ec.ChipImage.from_source(source, "fill")
    with ec.Worker(level=3, chips=1) as host:
        handle = host.register_chip("fill", image)
        y = host.tensor((3,), np.float32)
        host.run(lambda orch: orch.submit(handle, ec.Args().output(y)))
        assert y.array().tolist() == [7, 7, 7]


def test_a_failed_registration_says_where_first_and_with_what_lines(host: ec.Worker) -> None:
    with pytest.raises(ec.RegistrationFailed) as raised:
        host.register_sub(RaisesWhenUnpickled(), name="raises")
    error = raised.value
    assert error.path == error.others[0].path
    assert error.path in refused_by(error)
    assert error.pid in {child.pid for child in host.tree().children}
    assert error.callable == "raises"
    assert "Traceback (most recent call last)" in error.remote_traceback
    assert "ZeroDivisionError" in error.remote_traceback
    assert error.others[0].remote_traceback == error.remote_traceback


def test_the_lines_of_a_failure_two_levels_down_come_up(pod: ec.Worker) -> None:
    with pytest.raises(ec.RegistrationFailed) as raised:
        pod.register_sub(RaisesWhenUnpickled(), name="raises")
    assert raised.value.path in ("pod0/host0/sub0", "pod0/host1/sub0")
    assert "ZeroDivisionError" in raised.value.remote_traceback
