# SPDX-License-Identifier: Apache-2.0
"""Trees of several levels from Python: what crosses them, what is refused, who dies."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from conftest import eventually, is_alive

import echelon as ec

SOURCE = """
#include <echelon/chip_kernel.h>
ECHELON_KERNEL(tell) {
  auto seen = echelon::kernel::values<float>(args, context, 0);
  seen[0] = static_cast<float>(context->grid[0] * 100 + context->grid[1] * 10 + context->grid[2]);
}
"""

HOST = "cluster0/supernode0/pod0/host0"
CHAIN = ["cluster0", "cluster0/supernode0", "cluster0/supernode0/pod0", HOST]


def nodes(node: ec.NodeInfo) -> Iterator[ec.NodeInfo]:
    yield node
    for child in node.children:
        yield from nodes(child)


def pids(worker: ec.Worker) -> dict[str, int]:
    return {node.path: node.pid for node in nodes(worker.tree())}


def where(task: ec.Task) -> tuple[str, int]:
    return task.path, os.getpid()


def slow(task: ec.Task) -> None:
    while not task.cancelled():
        time.sleep(0.001)


def stop_myself(task: ec.Task) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@contextmanager
def refused(kind: type[ec.Error], words: str) -> Iterator[None]:
    with pytest.raises(kind) as raised:
        yield
    assert words in str(raised.value)


class Tree:
    """L6 -> L5 -> L4 -> L3 -> {sub, chip}, a sub-worker at every level, and a host of L6's own."""

    def __init__(self) -> None:
        self.cluster = ec.Worker(level=6, sub_workers=1)
        self.supernode = ec.Worker(level=5, sub_workers=1)
        self.pod = ec.Worker(level=4, sub_workers=1)
        self.host = ec.Worker(level=3, sub_workers=1, chips=1)
        self.lone = ec.Worker(level=3, name="lone", sub_workers=1)
        self.pod.add_worker(self.host)
        self.supernode.add_worker(self.pod)
        self.cluster.add_worker(self.supernode)
        self.cluster.add_worker(self.lone)
        self.where = self.cluster.register_sub(where)
        self.next: list[ec.OrchHandle] = []

    def descend(self, step: Callable[..., Any]) -> ec.OrchHandle:
        """Registers `step(orch, args, config)` to run at each level, from the L5 to the L3.

        What each returned comes back, the deepest last.
        """

        following = self.next

        def down(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> list[Any]:
            mine = [step(orch, args, config)]
            if orch.worker_count:
                given = ec.Args()
                for handle in args.handles():
                    given.inout(handle)
                mine += orch.submit(following[0], given, worker=orch.worker(0)).result()
            return mine

        self.next.append(self.cluster.register_orch(down))
        return self.next[0]

    def run(self, step: Callable[..., Any], args: ec.Args | None = None, **options: Any) -> Any:
        return self.call(self.descend(step), args, **options)

    def call(self, handle: ec.OrchHandle, args: ec.Args | None = None, **options: Any) -> Any:
        return self.cluster.run(
            lambda orch: orch.submit(handle, args, worker=orch.worker(0)).result(), **options
        )


@pytest.fixture()
def tree() -> Iterator[Tree]:
    made = Tree()
    yield made
    made.cluster.close()


# --- what crosses the levels


def test_each_level_submits_to_its_own_sub_worker(tree: Tree) -> None:
    at = tree.where

    def step(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> Any:
        return (
            orch.level,
            orch.path,
            os.getpid(),
            orch.submit(at, worker=orch.sub_worker(0)).result(),
        )

    seen = tree.run(step)
    at_top = tree.cluster.run(lambda orch: orch.submit(at, worker=orch.sub_worker(0)).result())
    known = pids(tree.cluster)
    assert at_top == ("cluster0/sub0", known["cluster0/sub0"])
    assert seen == [
        (level, path, known[path], (f"{path}/sub0", known[f"{path}/sub0"]))
        for level, path in zip((5, 4, 3), CHAIN[1:])
    ]


def test_the_tree_has_a_process_for_every_node(tree: Tree) -> None:
    tree.cluster.start()
    known = pids(tree.cluster)
    subs = [f"{path}/sub0" for path in [*CHAIN, "cluster0/lone"]]
    assert set(known) == {*CHAIN, *subs, f"{HOST}/chip0", "cluster0/lone"}
    assert known["cluster0"] == os.getpid()
    assert len(set(known.values())) == len(known)


def test_a_host_directly_below_an_l6_works_at_its_side(tree: Tree) -> None:
    at = tree.where
    on_lone = tree.cluster.register_orch(lambda orch: (orch.level, orch.submit(at).result()[0]))
    got = tree.cluster.run(lambda orch: orch.submit(on_lone, worker=orch.worker(1)).result())
    assert got == (3, "cluster0/lone/sub0")


def test_every_field_of_the_config_is_unchanged_at_each_level(tree: Tree) -> None:
    told = tree.cluster.register_sub(lambda task: repr(task.config))
    config = ec.CallConfig(
        grid=(2, 3, 4), cores=1, profiling=0x5A, values={"seed": "7", "empty": "", "text": "ä b"}
    )

    def step(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> Any:
        return repr(config), repr(orch.config), repr(args.config), orch.submit(told).result()

    assert tree.run(step, config=config) == [(repr(config),) * 4] * 3


def test_a_config_given_on_the_way_holds_from_there_on(tree: Tree) -> None:
    at = tree.cluster.register_sub(lambda task: task.config.grid)
    following: list[ec.OrchHandle] = []

    def down(orch: ec.Orchestrator) -> Any:
        if orch.level == 3:
            return orch.submit(at).result()
        other = ec.CallConfig(grid=(9, 1, 1)) if orch.level == 4 else None
        return orch.submit(following[0], config=other).result()

    following.append(tree.cluster.register_orch(down))

    def function(orch: ec.Orchestrator) -> Any:
        return orch.submit(following[0], worker=orch.worker(0)).result()

    assert tree.cluster.run(function, config=ec.CallConfig(grid=(5, 1, 1))) == (9, 1, 1)


def test_a_tensor_of_the_top_is_written_by_the_deepest_sub_and_chip(tree: Tree) -> None:
    def fill(task: ec.Task) -> None:
        task.array(0)[:] = 3

    filled = tree.cluster.register_sub(fill)
    tell = tree.cluster.register_chip("tell", ec.ChipImage.from_source(SOURCE, "tell"))

    def step(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> None:
        if orch.level == 3:
            x, y = args.handles()
            orch.submit(filled, ec.Args().output(x))
            orch.submit(tell, ec.Args().output(y))

    x, y = tree.cluster.tensor((4,), np.float32), tree.cluster.tensor((1,), np.float32)
    tree.run(step, ec.Args().inout(x).inout(y), config=ec.CallConfig(grid=(2, 3, 4)))
    assert x.array().tolist() == [3, 3, 3, 3]
    assert y.array().tolist() == [234]


def test_scopes_of_each_level_are_one_path(tree: Tree) -> None:
    at = tree.cluster.register_sub(lambda task: task.config.scope)

    def on_lone(orch: ec.Orchestrator) -> Any:
        with orch.scope("inner"):
            return orch.submit(at).result()

    inner = tree.cluster.register_orch(on_lone)

    def function(orch: ec.Orchestrator) -> Any:
        with orch.scope("outer"):
            return orch.submit(inner, worker=orch.worker(1)).result()

    assert tree.cluster.run(function) == "outer/inner"


def test_an_error_of_the_deepest_sub_is_told_whole(tree: Tree) -> None:
    def fail(task: ec.Task) -> None:
        raise LookupError("four levels down")  # the line at the bottom

    bad = tree.cluster.register_sub(fail, name="fail")

    def step(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> None:
        if orch.level == 3:
            orch.submit(bad)

    with pytest.raises(ec.TaskFailed) as raised:
        tree.run(step)
    error = raised.value
    assert (error.path, error.callable) == (f"{HOST}/sub0", "fail")
    assert (error.phase, error.cause) == ("running", "exception")
    assert error.pid == pids(tree.cluster)[f"{HOST}/sub0"]
    assert error.message == "LookupError: four levels down"
    assert isinstance(error.__cause__, LookupError)
    assert "the line at the bottom" in error.remote_traceback


def test_an_error_of_an_orchestration_function_names_its_worker(tree: Tree) -> None:
    def step(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> None:
        if orch.level == 4:
            raise LookupError("in the pod")

    with pytest.raises(ec.TaskFailed) as raised:
        tree.run(step)
    assert raised.value.path == CHAIN[2]
    assert raised.value.pid == pids(tree.cluster)[CHAIN[2]]
    assert isinstance(raised.value.__cause__, LookupError)


# --- what add_worker refuses


def test_a_child_of_a_wrong_level_is_refused() -> None:
    host, pod = ec.Worker(level=3), ec.Worker(level=4)
    other, chip = ec.Worker(level=4, name="other"), ec.Worker(level=2, chips=1)
    with refused(ec.InvalidArgument, "host0 is at level 3; Workers below it need level 4 or more"):
        host.add_worker(other)
    with refused(
        ec.InvalidArgument, "other is at level 4; below pod0 (level 4) belong levels 3 to"
    ):
        pod.add_worker(other)
    with refused(ec.InvalidArgument, "chip0 is at level 2"):
        pod.add_worker(chip)
    with refused(ec.InvalidArgument, "pod0 is at level 4"):
        pod.add_worker(pod)


def test_a_child_that_was_started_is_refused() -> None:
    pod, host = ec.Worker(level=4), ec.Worker(level=3, sub_workers=1)
    with host, refused(ec.WrongState, "host0 has been started already; add it before"):
        pod.add_worker(host)
    with refused(ec.WrongState, "host0 has been started already; add it before"):
        pod.add_worker(host)


def test_a_second_parent_is_refused() -> None:
    pod, cluster, host = ec.Worker(level=4), ec.Worker(level=6), ec.Worker(level=3)
    pod.add_worker(host)
    for parent in (cluster, pod):
        with refused(ec.WrongState, "host0 has a parent already (pod0/host0)"):
            parent.add_worker(host)


def test_two_children_of_one_name_are_refused() -> None:
    pod = ec.Worker(level=4)
    pod.add_worker(ec.Worker(level=3))
    with refused(ec.InvalidArgument, "pod0 has a child called host0 already; give them names"):
        pod.add_worker(ec.Worker(level=3))


def test_adding_to_a_running_tree_is_refused() -> None:
    words = "pod0 is running; add children before start()"
    with ec.Worker(level=4, sub_workers=1) as pod, refused(ec.WrongState, words):
        pod.add_worker(ec.Worker(level=3))


def test_a_child_is_used_through_the_top_of_its_tree() -> None:
    pod, host = ec.Worker(level=4), ec.Worker(level=3, sub_workers=1)
    pod.add_worker(host)
    words = "host0 is a child of pod0; call it on the Worker at the top of the tree"
    for call in (host.start, lambda: host.run(lambda orch: None), lambda: host.tensor(1, np.int8)):
        with refused(ec.WrongState, words):
            call()


def test_what_is_no_worker_is_refused() -> None:
    with pytest.raises(TypeError):
        ec.Worker(level=4).add_worker("host0")  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [4, 5, 6])
def test_chips_belong_to_hosts(level: int) -> None:
    with refused(ec.InvalidArgument, "chips belong to hosts (level 3)"):
        ec.Worker(level=level, chips=1)


# --- starts and deadlines


def test_a_start_that_fails_deep_down_is_told_and_leaves_nothing() -> None:
    pod = ec.Worker(level=4, sub_workers=1)
    pod.add_worker(ec.Worker(level=3, sub_workers=1, chips=["warp9:0"]))
    with pytest.raises(ec.StartFailed, match="warp9") as raised:
        pod.start()
    assert raised.value.path == "pod0/host0/chip0"
    assert raised.value.pid > 0
    assert not pod.started


def test_a_second_start_succeeds_once_the_cause_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHELON_DRIVER_PATH", str(tmp_path))
    host = ec.Worker(level=3, sub_workers=1, chips=["absent:0"])
    at = host.register_sub(where)
    with pytest.raises(ec.StartFailed, match="absent"):
        host.start()
    driver = next(Path(ec.__file__).parent.rglob("libechelon_driver_cpu.so"))
    (tmp_path / "libechelon_driver_absent.so").symlink_to(driver)
    with host:
        assert host.run(lambda orch: orch.submit(at).result())[0] == "host0/sub0"
        assert {node.state for node in nodes(host.tree())} == {"ready"}


def test_a_deadline_of_a_run_reaches_the_deepest_sub(tree: Tree) -> None:
    slowly = tree.cluster.register_sub(slow)

    def step(orch: ec.Orchestrator, args: ec.TaskArgs, config: ec.CallConfig) -> None:
        if orch.level == 3:
            orch.submit(slowly)

    down = tree.descend(step)
    tree.cluster.start()
    before = pids(tree.cluster)
    with pytest.raises(ec.DeadlineExceeded):
        tree.call(down, deadline=0.2)
    assert pids(tree.cluster) == before


# --- who stops, dies, or wants too much


def test_a_stopped_child_fails_its_task_and_its_sibling_goes_on() -> None:
    host = ec.Worker(level=3, sub_workers=2, unresponsive_after=1)
    stops, at = host.register_sub(stop_myself), host.register_sub(where)
    with host:
        with pytest.raises(ec.Error, match="answer") as raised:
            host.run(lambda orch: orch.submit(stops, worker=orch.sub_worker(0)))
        assert raised.value.path == "host0/sub0"
        assert raised.value.callable == "stop_myself"
        assert host.run(lambda orch: orch.submit(at).result())[0] == "host0/sub1"


def test_touching_what_was_kept_private_ends_the_task_alone() -> None:
    memory = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[0] = 42
    ec.keep_private(memory)
    host = ec.Worker(level=3, sub_workers=2)
    touch, at = host.register_sub(lambda task: memory[0]), host.register_sub(where)
    with host:
        with pytest.raises(ec.ChildLost, match="SIGSEGV"):
            host.run(lambda orch: orch.submit(touch, worker=orch.sub_worker(0)).result())
        assert host.run(lambda orch: orch.submit(at).result())[0] == "host0/sub1"
        assert memory[0] == 42


def test_memory_of_an_array_that_was_private_is_given_out_again() -> None:
    private = np.full(1 << 20, 7, np.uint8)
    ec.keep_private(private[:])
    del private
    again = np.full(1 << 20, 7, np.uint8)  # mostly where the first one was
    host = ec.Worker(level=3, sub_workers=1)
    touch = host.register_sub(lambda task: int(again.sum()))
    with host:
        assert host.run(lambda orch: orch.submit(touch).result()) == 7 << 20


def test_a_killed_host_takes_its_subtree_with_it_and_the_error_says_so(tmp_path: Path) -> None:
    pod = ec.Worker(level=4)
    for i in range(2):
        pod.add_worker(ec.Worker(level=3, name=f"host{i}", sub_workers=2))
    begun = tmp_path / "begun"

    def hold_on(task: ec.Task) -> None:
        begun.touch()
        slow(task)

    holds, at = pod.register_sub(hold_on), pod.register_sub(where)
    hold = pod.register_orch(lambda orch: orch.submit(holds) and None, name="hold")
    look = pod.register_orch(lambda orch: orch.submit(at).result())
    with pod:
        known = pids(pod)
        run = pod.submit(lambda orch: orch.submit(hold, worker=orch.worker(0)))
        assert eventually(begun.exists)
        os.kill(known["pod0/host0"], signal.SIGKILL)
        with pytest.raises(ec.ChildLost, match="SIGKILL") as raised:
            run.wait()
        error = raised.value
        assert (error.path, error.callable) == ("pod0/host0", "hold")
        assert (error.pid, error.cause) == (known["pod0/host0"], "signal")
        below = [known[f"pod0/host0/sub{i}"] for i in range(2)]
        assert eventually(lambda: not any(is_alive(pid) for pid in below))
        assert pod.run(lambda orch: orch.submit(look).result())[0].startswith("pod0/host1/")
        with pytest.raises(ec.ChildLost, match="host0 is down"):
            pod.run(lambda orch: orch.submit(look, worker=orch.worker(0)).result())


def test_memory_beyond_what_the_worker_may_have_is_refused() -> None:
    host = ec.Worker(level=3, memory_bytes_max=1 << 20)
    with pytest.raises(ec.ResourceExhausted):
        host.tensor((1 << 22,), np.uint8)
    assert host.tensor((1 << 10,), np.uint8).nbytes == 1 << 10


def test_a_function_that_asks_for_too_much_memory_fails_with_its_scope() -> None:
    with ec.Worker(level=3, memory_bytes_max=1 << 20) as host:

        def function(orch: ec.Orchestrator) -> None:
            with orch.scope("greedy"):
                orch.alloc((1 << 22,), np.uint8)

        with pytest.raises(ec.ResourceExhausted, match="greedy"):
            host.run(function)
        assert host.run(lambda orch: orch.alloc((1 << 10,), np.uint8).nbytes) == 1 << 10


# --- runs


def test_runs_overlap_and_a_failure_of_one_is_not_told_in_another(tmp_path: Path) -> None:
    pod = ec.Worker(level=4, sub_workers=2)
    go_on = tmp_path / "go_on"

    def wait(task: ec.Task) -> None:
        assert eventually(go_on.exists), "nobody came"

    waiting, failing = pod.register_sub(wait), pod.register_sub(lambda task: 1 // 0)
    touching = pod.register_sub(lambda task: go_on.touch())
    with pod:
        first = pod.submit(lambda orch: orch.submit(waiting) and None)
        with pytest.raises(ec.TaskFailed, match="ZeroDivisionError"):
            pod.run(lambda orch: orch.submit(failing))
        assert not first.done()
        pod.run(lambda orch: orch.submit(touching))
        assert first.wait()


def test_members_of_a_group_run_at_the_same_time_on_hosts_of_their_own(tmp_path: Path) -> None:
    pod = ec.Worker(level=4)
    for i in range(2):
        pod.add_worker(ec.Worker(level=3, name=f"host{i}", sub_workers=1))

    def meet(task: ec.Task) -> str:
        number = int(task.scalars[0])
        (tmp_path / str(number)).touch()
        assert eventually((tmp_path / str(1 - number)).exists), "nobody came"
        return task.path

    meeting = pod.register_sub(meet)

    def on_host(orch: ec.Orchestrator, args: ec.TaskArgs) -> Any:
        return orch.submit(meeting, ec.Args().scalar(args.scalars[0])).result()

    each = pod.register_orch(on_host)

    def both(orch: ec.Orchestrator) -> Any:
        tasks = orch.submit_group(each, [ec.Args().scalar(i) for i in range(2)])
        return sorted(task.result() for task in tasks)

    with pod:
        assert pod.run(both) == ["pod0/host0/sub0", "pod0/host1/sub0"]
