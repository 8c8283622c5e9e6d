# SPDX-License-Identifier: Apache-2.0
"""Processes from Python: signals, forks, threads, event loops, output, the end of a program."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import echelon as ec


def pid(task: ec.Task) -> int:
    return os.getpid()


def slow(task: ec.Task) -> None:
    while not task.cancelled():
        time.sleep(0.001)


def stubborn(task: ec.Task) -> None:
    time.sleep(3)


def matrix_product(task: ec.Task) -> float:
    x = np.ones((200, 200))
    return float((x @ x)[0, 0])


def draw(task: ec.Task) -> float:
    return random.random()


def current_thread(task: ec.Task) -> bool:
    return threading.current_thread() is threading.main_thread()


def one_sub_worker(*functions: Any) -> tuple[ec.Worker, list[ec.SubHandle]]:
    worker = ec.Worker(level=3, sub_workers=1)
    handles = [worker.register_sub(function) for function in functions]
    worker.start()
    return worker, handles


def result(worker: ec.Worker, handle: ec.SubHandle) -> Any:
    return worker.run(lambda orch: orch.submit(handle).result())


def run_program(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Interrupt:
    """Ctrl-C, as soon as `when` holds."""

    def __init__(self, when: Any) -> None:
        self.when = when
        self.thread = threading.Thread(target=self.send)

    def send(self) -> None:
        while not self.when():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.thread.join()


@pytest.mark.parametrize("wait_inside", [False, True])
def test_ctrl_c_cancels_the_run_and_leaves_the_worker_usable(wait_inside: bool) -> None:
    worker, (slowly, who) = one_sub_worker(slow, pid)
    submitted = threading.Event()

    def function(orch: ec.Orchestrator) -> None:
        task = orch.submit(slowly)
        submitted.set()
        if wait_inside:
            task.wait()

    with worker:
        child = result(worker, who)
        with pytest.raises(KeyboardInterrupt), Interrupt(submitted.is_set):
            worker.run(function)
        assert result(worker, who) == child


def test_ctrl_c_gets_through_although_a_task_does_not_listen() -> None:
    worker, (stubbornly, who) = one_sub_worker(stubborn, pid)
    submitted = threading.Event()

    def function(orch: ec.Orchestrator) -> None:
        orch.submit(stubbornly)
        submitted.set()

    with worker:
        with pytest.raises(KeyboardInterrupt), Interrupt(submitted.is_set):
            worker.run(function)
        assert result(worker, who) > 0


def test_waiting_with_a_timeout_comes_back() -> None:
    worker, (slowly,) = one_sub_worker(slow)
    with worker:
        run = worker.submit(lambda orch: orch.submit(slowly).wait(timeout=0.01))
        assert run.wait(timeout=0.01) is False
        run.cancel()
        with pytest.raises(ec.Cancelled):
            run.wait()


def test_a_thread_runs_while_another_waits() -> None:
    worker, (slowly,) = one_sub_worker(slow)
    with worker:
        run = worker.submit(lambda orch: orch.submit(slowly))
        thread = threading.Thread(target=run.cancel)
        thread.start()
        with pytest.raises(ec.Cancelled):
            run.wait()
        thread.join()


def test_a_thread_runs_while_submit_waits_for_room() -> None:
    worker, (slowly, nothing) = one_sub_worker(slow, lambda task: None)
    with worker:
        run = worker.submit(lambda orch: orch.submit(slowly))

        def function(orch: ec.Orchestrator) -> None:
            for _ in range(100_000):
                orch.submit(nothing)

        waker = threading.Timer(0.2, run.cancel)
        waker.start()
        worker.run(function)
        waker.join()


def test_runs_from_several_threads_each_get_their_own_result() -> None:
    worker, (who,) = one_sub_worker(pid)
    with worker:
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(result(worker, who))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [results[0]] * 8


def test_a_program_with_busy_threads_may_start_a_tree() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            np.ones((50, 50)) @ np.ones((50, 50))

    threads = [threading.Thread(target=spin) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        worker, (product,) = one_sub_worker(matrix_product)
        with worker:
            assert result(worker, product) == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_tree_may_be_started_by_another_thread_than_the_main_one() -> None:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(one_sub_worker(current_thread)))
    thread.start()
    thread.join()
    worker, (handle,) = made[0]
    with worker:
        assert result(worker, handle) is True


def test_a_run_is_awaited_in_an_event_loop_that_was_running_at_the_start() -> None:
    async def main() -> int:
        worker, (who,) = one_sub_worker(pid)
        with worker:
            run = worker.submit(lambda orch: orch.submit(who).result())
            return int(await run)

    assert asyncio.run(main()) > 0


def test_an_awaited_run_raises_its_error() -> None:
    async def main() -> None:
        worker, (slowly,) = one_sub_worker(slow)
        with worker:
            await worker.submit(lambda orch: orch.submit(slowly), deadline=0.02)

    with pytest.raises(ec.DeadlineExceeded):
        asyncio.run(main())


def test_cancelling_the_awaiting_task_cancels_the_run() -> None:
    async def main() -> None:
        worker, (slowly,) = one_sub_worker(slow)
        with worker:
            run = worker.submit(lambda orch: orch.submit(slowly) and None)

            async def wait() -> None:
                await run

            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0.02)
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(ec.Cancelled):
                run.wait(timeout=30)
            assert run.done()

    asyncio.run(main())


def until_told(task: ec.Task) -> None:
    while task.array(0)[0] == 0:
        time.sleep(0.001)


def test_an_awaited_run_that_goes_on_keeps_neither_the_loop_nor_its_executor() -> None:
    worker, (waits,) = one_sub_worker(until_told)
    told = worker.tensor((1,), np.int8)
    run = worker.submit(lambda orch: orch.submit(waits, ec.Args().no_dep(told)) and None)

    async def wait() -> None:
        await run

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)  # it has begun to wait
        assert await asyncio.get_running_loop().run_in_executor(None, lambda: 1) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with worker:
        asyncio.run(main())
        assert not run.done()  # its task does not look at cancelled()
        told.array()[0] = 1
        with pytest.raises(ec.Cancelled):
            run.wait()


def test_many_runs_are_awaited_at_once() -> None:
    async def main() -> list[int]:
        worker, (who,) = one_sub_worker(pid)
        with worker:

            async def one() -> int:
                return int(await worker.submit(lambda orch: orch.submit(who) and 7))

            return await asyncio.gather(*(one() for _ in range(100)))

    assert asyncio.run(main()) == [7] * 100


def test_children_print_through_the_programs_own_streams() -> None:
    done = run_program(
        """
        import sys, echelon as ec
        def talk(task):
            print("said by", task.path)
            print("and on the other stream", file=sys.stderr)
        host = ec.Worker(level=3, sub_workers=1)
        handle = host.register_sub(talk)
        with host:
            host.run(lambda orch: orch.submit(handle))
        """
    )
    assert done.returncode == 0, done.stderr
    assert "said by host0/sub0\n" in done.stdout
    assert "and on the other stream\n" in done.stderr


def test_what_was_printed_before_the_start_is_printed_once() -> None:
    done = run_program(
        """
        import sys, echelon as ec
        sys.stdout.write("before")
        with ec.Worker(level=3, sub_workers=4):
            pass
        """
    )
    assert done.stdout == "before"


def test_a_program_that_forgets_to_close_ends_and_leaves_nothing() -> None:
    done = run_program(
        """
        import echelon as ec
        host = ec.Worker(level=3, sub_workers=2)
        host.start()
        print(*[child.pid for child in host.tree().children])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for child in done.stdout.split():
        assert not Path(f"/proc/{child}").exists()


def test_the_programs_own_fork_hooks_run_in_children() -> None:
    done = run_program(
        """
        import os, echelon as ec
        seen = []
        os.register_at_fork(after_in_child=lambda: seen.append("child"))
        host = ec.Worker(level=3, sub_workers=1)
        handle = host.register_sub(lambda task: list(seen))
        with host:
            print(host.run(lambda orch: orch.submit(handle).result()), seen)
        """
    )
    # Twice: in the spawner, and in the child that the spawner forked.
    assert done.stdout == "['child', 'child'] []\n", done.stderr


def test_a_worker_is_inert_in_a_process_that_the_program_forks() -> None:
    worker, (who,) = one_sub_worker(pid)
    with worker:
        child = os.fork()
        if child == 0:
            try:
                worker.run(lambda orch: None)
                os._exit(1)
            except ec.WrongState:
                worker.close()
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert result(worker, who) > 0


def test_multiprocessing_works_beside_a_tree() -> None:
    done = run_program(
        """
        import multiprocessing as mp, echelon as ec
        def square(x):
            return x * x
        with ec.Worker(level=3, sub_workers=1):
            with mp.get_context("fork").Pool(1) as pool:
                print(pool.map(square, range(4)))
        """
    )
    assert done.stdout == "[0, 1, 4, 9]\n", done.stderr


def test_a_worker_in_a_reference_cycle_is_collected_with_its_processes() -> None:
    done = run_program(
        """
        import gc, os, echelon as ec
        from pathlib import Path
        def make():
            host = ec.Worker(level=3, sub_workers=1)
            host.register_sub(lambda task: id(host))
            host.start()
            return host.tree().children[0].pid
        child = make()
        gc.collect()
        print(Path(f"/proc/{child}").exists())
        """
    )
    assert done.stdout == "False\n", done.stderr


def test_random_numbers_differ_between_children() -> None:
    worker = ec.Worker(level=3, sub_workers=2)
    handle = worker.register_sub(draw)
    with worker:

        def both(orch: ec.Orchestrator) -> list[float]:
            tasks = orch.submit_group(handle, [ec.Args(), ec.Args()])
            return [task.result() for task in tasks]

        first, second = worker.run(both)
        assert first != second


def test_a_worker_may_be_restarted_by_one_thread_while_others_run() -> None:
    worker = ec.Worker(level=3, sub_workers=1)
    handle = worker.register_sub(pid)
    done = threading.Event()

    def restart() -> None:
        for _ in range(40):
            worker.close()
            worker.start()
        done.set()

    def run() -> None:
        while not done.is_set():
            try:
                assert result(worker, handle) > 0
            except ec.Error as error:
                assert isinstance(error, (ec.WrongState, ec.ChildLost, ec.Cancelled)), error

    worker.start()
    with ThreadPoolExecutor(3) as threads:
        for ended in [threads.submit(each) for each in (restart, run, run)]:
            ended.result()
    with worker:
        assert result(worker, handle) > 0


def test_an_inherited_worker_says_whose_it_is() -> None:
    worker = ec.Worker(level=3, sub_workers=1)

    def refusals(task: ec.Task) -> list[str]:
        said = []
        for call in (lambda: worker.started, lambda: worker.register_sub(slow)):
            try:
                call()
            except ec.WrongState as error:
                said.append(str(error))
        return [*said, repr(worker)]

    handle = worker.register_sub(refusals)
    with worker:
        started, register, text = worker.run(lambda orch: orch.submit(handle).result(), deadline=20)
    assert "belongs to the process that this one was forked from" in started
    assert "belongs to the process that this one was forked from" in register
    assert "of another process" in text


@pytest.mark.parametrize("wait", ["run", "submit"])
def test_a_daemon_thread_may_wait_when_the_program_ends(wait: str) -> None:
    ended = run_program(f"""
        import echelon as ec, threading, time
        host = ec.Worker(level=3, sub_workers=1)
        begun = threading.Event()
        nap = host.register_sub(lambda task: time.sleep(1))
        host.start()
        def wait():
            function = lambda orch: (orch.submit(nap), begun.set())
            try:
                host.run(function) if "{wait}" == "run" else host.submit(function).wait()
            except ec.Error:
                pass
        threading.Thread(target=wait, daemon=True).start()
        begun.wait()
    """)
    assert ended.returncode == 0, ended.stderr


def ring_when_still(count: list[int]) -> None:
    """The alarm, once nothing has been submitted for a while: the function waits for room."""
    seen = -1
    while seen != count[0] or seen == 0:
        seen = count[0]
        time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGALRM)


def alarm_from(place: str, worker: ec.Worker, handle: ec.SubHandle) -> None:
    def function(orch: ec.Orchestrator) -> Any:
        if place == "submit":
            count = [0]
            threading.Thread(target=ring_when_still, args=(count,), daemon=True).start()
            while True:
                orch.submit(handle)
                count[0] += 1
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        if place == "result":
            return orch.submit(handle).result()
        with orch.scope("part") as scope:
            orch.submit(handle)
            scope.wait()
        return None

    worker.run(function)


class Rang(Exception):
    """What a signal's handler raises in the tests."""


def ring(number: int, frame: Any) -> None:
    raise Rang


@pytest.mark.parametrize("handler", [signal.default_int_handler, ring])
@pytest.mark.parametrize("place", ["result", "submit", "scope"])
def test_a_signals_handler_ends_every_wait_of_an_orchestration_function(
    place: str, handler: Any
) -> None:
    until = os.pipe()
    worker, handles = one_sub_worker(lambda task: os.read(until[0], 1) and None, pid)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises((KeyboardInterrupt, Rang)):
            alarm_from(place, worker, handles[0])
        os.write(until[1], b"x")  # only now may the task end
        assert result(worker, handles[1]) > 0
    finally:
        signal.signal(signal.SIGALRM, before)
        worker.close()
        os.close(until[0])
        os.close(until[1])
