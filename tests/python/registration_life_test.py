# SPDX-License-Identifier: Apache-2.0
"""The life of late callables from Python: slots, libraries, children that are busy or silent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from conftest import build_library, eventually

import echelon as ec
from echelon._src import envelope

FILL = """
#include <echelon/chip_kernel.h>
ECHELON_KERNEL(fill) {
  for (auto& value : echelon::kernel::values<float>(args, context, 0)) value = 7;
}
"""

LIBRARY = """
#include <echelon/echelon.h>
ECHELON_SUB("library add", [](echelon::Task& task) {
  return task.scalar<std::int64_t>(0) + 1;
});
ECHELON_ORCH("library level", [](echelon::Orchestrator& orch) {
  return static_cast<std::int64_t>(orch.level());
});
"""

HEADER = struct.Struct("<4sHBBQ32s")


@pytest.fixture()
def host() -> Iterator[ec.Worker]:
    with ec.Worker(level=3, sub_workers=2, chips=1) as made:
        yield made


@pytest.fixture()
def pod() -> Iterator[ec.Worker]:
    made = ec.Worker(level=4)
    made.add_worker(ec.Worker(level=3, sub_workers=2, chips=1))
    with made:
        yield made


@pytest.fixture(scope="session")
def fill() -> ec.ChipImage:
    return ec.ChipImage.from_source(FILL, "fill")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared object with named C++ functions, made as a user of the wheel makes one."""
    return build_library(tmp_path_factory.mktemp("library"), LIBRARY)


def call(worker: ec.Worker, handle: Any, args: ec.Args | None = None) -> Any:
    return worker.run(lambda orch: orch.submit(handle, args).result())


def number_in(result: bytes) -> int:
    return int.from_bytes(result, "little", signed=True)


def paths(error: ec.Error) -> list[str]:
    return sorted(other.path for other in error.others if other.code != "ok")


def sub_pids(worker: ec.Worker) -> list[int]:
    host = worker.tree()
    while host.level > 3:
        host = host.children[0]
    return [child.pid for child in host.children if child.kind == "sub"]


def returns(value: Any) -> Callable[[ec.Task], Any]:
    return lambda task: value


def slot_of(handle: Any) -> int:
    return int(handle.__getstate__()[1])


def in_slot(worker: ec.Worker, wanted: int, make: Callable[[], Any]) -> Any:
    """What `make` registers, in the slot `wanted`, which comes once all forgot what it held."""
    made = make()

    def is_there() -> bool:
        nonlocal made
        if slot_of(made) != wanted:
            worker.unregister(made)
            made = make()
        return slot_of(made) == wanted

    assert eventually(is_there)
    return made


# --- slots


def test_a_slot_given_out_again_reaches_only_the_new_callable(
    host: ec.Worker, fill: ec.ChipImage
) -> None:
    y = host.tensor((2,), np.float32)
    first = host.register_sub(returns("first"))
    slot = slot_of(first)
    host.unregister(first)
    for i in range(5):
        sub = in_slot(host, slot, partial(host.register_sub, returns(i)))
        assert call(host, sub) == i
        host.unregister(sub)
        y.array()[:] = 0
        chip = in_slot(host, slot, partial(host.register_chip, "fill", fill))
        host.run(partial(submit_writing, chip, y))
        assert y.array().tolist() == [7, 7]
        host.unregister(chip)
        for former in (first, sub, chip):
            with pytest.raises(ec.StaleHandle):
                call(host, former)


def submit_writing(handle: Any, y: ec.Tensor, orch: ec.Orchestrator) -> None:
    orch.submit(handle, ec.Args().output(y)).wait()


def as_sub(handle: Any) -> Callable[..., Any]:
    return lambda orch: orch.submit(handle).result()


def as_chip(handle: Any) -> Callable[..., Any]:
    def function(orch: ec.Orchestrator, args: ec.TaskArgs) -> None:
        orch.submit(handle, ec.Args().output(args.handle(0)))

    return function


def as_orch(number: int) -> Callable[..., Any]:
    return lambda orch: (orch.path, number)


def test_below_a_pod_a_slot_goes_from_sub_to_chip_to_orch(
    pod: ec.Worker, fill: ec.ChipImage
) -> None:
    y = pod.tensor((2,), np.float32)
    first = pod.register_sub(returns("first"))
    slot = slot_of(first)
    pod.unregister(first)
    for i in range(3):
        sub = in_slot(pod, slot, partial(pod.register_sub, returns(i)))
        to_sub = pod.register_orch(as_sub(sub))
        assert call(pod, to_sub) == i
        pod.unregister(sub)
        y.array()[:] = 0
        chip = in_slot(pod, slot, partial(pod.register_chip, "fill", fill))
        to_chip = pod.register_orch(as_chip(chip))
        call(pod, to_chip, ec.Args().output(y))
        assert y.array().tolist() == [7, 7]
        pod.unregister(chip)
        last = in_slot(pod, slot, partial(pod.register_orch, as_orch(i)))
        assert call(pod, last) == ("pod0/host0", i)
        with pytest.raises(ec.Error):  # the former handle does not mean the new callable
            call(pod, to_sub)
        for handle in (last, to_sub, to_chip):
            pod.unregister(handle)


def test_what_was_submitted_finishes_after_unregister(host: ec.Worker, tmp_path: Path) -> None:
    begun, go_on, ended = (str(tmp_path / name) for name in ("begun", "go_on", "ended"))

    def wait(task: ec.Task) -> None:
        Path(begun).touch()
        while not Path(go_on).exists():
            time.sleep(0.001)
        Path(ended).touch()

    waiting = host.register_sub(wait)
    run = host.submit(lambda orch: orch.submit(waiting, worker=orch.sub_worker(0)) and None)
    assert eventually(Path(begun).exists)
    host.unregister(waiting)
    with pytest.raises(ec.StaleHandle, match="unregister"):
        call(host, waiting)
    Path(go_on).touch()
    run.wait()
    assert Path(ended).exists()
    assert eventually(lambda: "in doubt" not in host.describe())


def test_a_handle_inside_a_host_is_refused_there_after_unregister(pod: ec.Worker) -> None:
    sub = pod.register_sub(lambda task: "sub")
    each = pod.register_orch(lambda orch: orch.submit(sub).result())
    assert call(pod, each) == "sub"
    pod.unregister(sub)
    raised: list[ec.Error] = []

    def is_refused() -> bool:  # the news goes down by itself
        try:
            call(pod, each)
        except ec.Error as error:
            raised.append(error)
        return bool(raised)

    assert eventually(is_refused)
    assert raised[0].path == "pod0/host0"
    assert "unregister" in str(raised[0])


# --- named C++ functions


def test_a_library_brings_named_functions_into_a_running_tree(
    pod: ec.Worker, library: Path
) -> None:
    loaded = pod.register_library(library)
    add, level = pod.register_sub("library add"), pod.register_orch("library level")

    def on_host(orch: ec.Orchestrator) -> bytes:
        return orch.submit(add, ec.Args().scalar(41)).result_bytes()

    each = pod.register_orch(on_host)
    assert number_in(call(pod, each)) == 42
    assert number_in(pod.run(lambda orch: orch.submit(level).result_bytes())) == 3
    with pytest.raises(TypeError, match="a handle was expected, not .*LibraryHandle"):
        pod.run(lambda orch: orch.submit(loaded))  # type: ignore[arg-type]


def test_a_library_is_shipped_by_content(host: ec.Worker, library: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.so"
    copy.write_bytes(library.read_bytes())
    host.register_library(copy)
    copy.unlink()
    add = host.register_sub("library add")
    result = host.run(lambda orch: orch.submit(add, ec.Args().scalar(1)).result_bytes())
    assert number_in(result) == 2


def test_a_name_that_no_process_knows_is_refused_by_all_of_them(host: ec.Worker) -> None:
    with pytest.raises(ec.RegistrationFailed, match="nobody's name") as raised:
        host.register_sub("nobody's name")
    assert paths(raised.value) == ["host0/sub0", "host0/sub1"]


def test_what_is_no_library_is_refused(host: ec.Worker, tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no shared object")
    with pytest.raises(ec.Error, match=r"text\.so"):
        host.register_library(text)
    with pytest.raises(ec.InvalidArgument, match="absent"):
        host.register_library(tmp_path / "absent.so")


# --- children that do not answer


def hold_interpreter(task: ec.Task) -> None:
    """In C code, without giving up the interpreter."""
    import ctypes

    Path(os.environ["BEGUN"]).touch()
    ctypes.PyDLL(None).usleep(3_000_000)


def test_a_child_that_holds_its_interpreter_in_c_code_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setenv("BEGUN", str(begun))
    host = ec.Worker(level=3, sub_workers=2)
    holding = host.register_sub(hold_interpreter)
    with host:
        run = host.submit(lambda orch: orch.submit(holding, worker=orch.sub_worker(0)))
        assert eventually(begun.exists)
        with pytest.raises(ec.RegistrationFailed) as raised:
            host.register_sub(lambda task: "late", name="late", timeout=1)
        assert paths(raised.value) == ["host0/sub0"]
        assert "waiting for its interpreter to make sub late" in str(raised.value)
        run.wait()
        assert call(host, host.register_sub(lambda task: "later")) == "later"


def test_a_child_in_a_long_python_task_still_acknowledges(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def spin(task: ec.Task) -> None:
        begun.touch()
        while not task.cancelled():
            pass

    host = ec.Worker(level=3, sub_workers=1)
    spinning = host.register_sub(spin)
    with host:
        run = host.submit(lambda orch: orch.submit(spinning))
        assert eventually(begun.exists)
        late = host.register_sub(lambda task: "late")
        assert not run.done()
        run.cancel()
        with pytest.raises(ec.Cancelled):
            run.wait()
        assert call(host, late) == "late"


@pytest.fixture()
def stopped(pod: ec.Worker) -> Iterator[int]:
    """The second sub-worker of the host, stopped."""
    pid = sub_pids(pod)[1]
    os.kill(pid, signal.SIGSTOP)
    yield pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_a_stopped_child_is_named_and_in_doubt(pod: ec.Worker, stopped: int) -> None:
    with pytest.raises(ec.RegistrationFailed, match="did not answer in time") as raised:
        pod.register_sub(lambda task: "late", name="late", timeout=0.5)
    assert paths(raised.value) == ["pod0/host0/sub1"]
    assert raised.value.others[0].pid == stopped
    assert raised.value.others[0].code == "deadline exceeded"
    assert "in doubt about slot 0 (late)" in pod.describe()
    with pytest.raises(ec.RegistrationFailed) as raised:
        pod.register_sub(lambda task: "next", timeout=0.5)
    assert 'pod0/host0/sub1 has not confirmed that it forgot "late"' in str(raised.value)


def test_a_stopped_child_that_goes_on_is_in_doubt_no_more(pod: ec.Worker, stopped: int) -> None:
    with pytest.raises(ec.RegistrationFailed):
        pod.register_sub(lambda task: "late", timeout=0.5)
    os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: "in doubt" not in pod.describe())
    late = pod.register_sub(lambda task: "late")
    each = pod.register_orch(lambda orch: orch.submit(late, worker=orch.sub_worker(1)).result())
    assert call(pod, each) == "late"


def test_a_child_that_dies_meanwhile_is_its_answer(pod: ec.Worker, stopped: int) -> None:
    killer = threading.Timer(0.2, os.kill, (stopped, signal.SIGKILL))
    killer.start()
    with pytest.raises(ec.RegistrationFailed, match="SIGKILL") as raised:
        pod.register_sub(lambda task: "late")
    killer.join()
    assert paths(raised.value) == ["pod0/host0/sub1"]
    late = pod.register_sub(lambda task: task.path)  # the dead one is not asked again
    assert call(pod, pod.register_orch(lambda orch: orch.submit(late).result())) == (
        "pod0/host0/sub0"
    )


# --- payloads that are not what they say


def refused_payload(worker: ec.Worker, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sends `whole` to the children as the payload of a function, and returns what they say."""
    with monkeypatch.context() as patched:
        patched.setattr(envelope, "seal", lambda write: memoryview(whole))
        with pytest.raises(ec.RegistrationFailed) as raised:
            worker.register_sub(lambda task: "never", timeout=20)
    assert paths(raised.value) == ["pod0/host0/sub0", "pod0/host0/sub1"]
    return str(raised.value)


PAYLOAD = b"\x80\x05K\x01."  # 1, pickled


def sealed(**fields: Any) -> bytes:
    values = {
        "magic": b"EcPy",
        "version": 1,
        "serializer": 1,
        "flags": 0,
        "size": len(PAYLOAD),
        "digest": hashlib.sha256(PAYLOAD).digest(),
    }
    values.update(fields)
    return HEADER.pack(*values.values()) + PAYLOAD


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (sealed(magic=b"PyEc"), "an envelope begins with b'EcPy'"),
        (sealed(version=2), "an envelope of version 2"),
        (sealed(serializer=9), "serializer 9 is not known"),
        (sealed(flags=1), "flags 0x1 are not known"),
        (sealed(size=9), "a payload of 9 bytes was announced and 5 came"),
        (sealed(digest=bytes(32)), "its SHA-256 differs"),
        (sealed()[:47], "an envelope of 47 bytes"),
        (sealed(), "what was shipped is 1, which cannot be called"),
        (b"\0" * 100, "an envelope begins with"),
    ],
)
def test_a_wrong_payload_is_refused_by_each_child(
    pod: ec.Worker, whole: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert words in refused_payload(pod, whole, monkeypatch)
    late = pod.register_sub(lambda task: "still usable")
    each = pod.register_orch(lambda orch: orch.submit(late).result())
    assert call(pod, each) == "still usable"


def test_bytes_behind_an_envelope_are_accepted_by_each_child(
    host: ec.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = envelope.seal
    with monkeypatch.context() as patched:
        patched.setattr(envelope, "seal", lambda write: memoryview(bytes(seal(write)) + b"more"))
        late = host.register_sub(lambda task: "late")
    assert call(host, late) == "late"


def test_ten_thousand_callables_at_once_each_answer_for_themselves(host: ec.Worker) -> None:
    handles = [host.register_sub(returns(i)) for i in range(10_000)]

    def all_of(part: list[ec.SubHandle]) -> Callable[[ec.Orchestrator], list[int]]:
        return lambda orch: [task.result() for task in [orch.submit(handle) for handle in part]]

    got: list[int] = []
    for begin in range(0, len(handles), 500):
        got += host.run(all_of(handles[begin : begin + 500]))
    assert got == list(range(10_000))
