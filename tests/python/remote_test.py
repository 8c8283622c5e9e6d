# SPDX-License-Identifier: Apache-2.0
"""Workers on other hosts: daemons of this machine, and C++ functions that are sent to them."""

from __future__ import annotations

import _thread
import asyncio
import datetime
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Daemon, build_library, command_line, daemon, eventually, is_alive

import echelon as ec
from echelon._src import plain

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "remote"

LIBRARY = r"""
#include <echelon/echelon.h>
#include <unistd.h>
#include <cstring>
#include <span>
#include <string_view>

using namespace echelon;

ECHELON_SUB("add one", [](Task& task) { return task.scalar<std::int64_t>(0) + 1; });
ECHELON_SUB("double", [](Task& task) {
  double sum = 0;
  for (float& value : task.tensor<float>(0)) sum += value *= 2.0f;
  return sum;
});
ECHELON_SUB("fail", [](Task&) { throw std::runtime_error("it is as it is"); });
ECHELON_ORCH("double below", [](Orchestrator& orch, TaskArgs& args) {
  return orch.submit(orch.find_sub("double"), Args().inout(args.handle(0))).result<double>();
});
ECHELON_ORCH("fail below", [](Orchestrator& orch) {
  orch.submit(orch.find_sub("fail")).wait();
});
ECHELON_ORCH("pid", [](Orchestrator&) { return static_cast<std::int64_t>(::getpid()); });
ECHELON_ORCH("until cancelled", [](Orchestrator&, TaskArgs& args) {
  while (!args.cancelled()) ::usleep(1000);
});
ECHELON_ORCH("inline bytes", [](Orchestrator&, TaskArgs& args) {
  std::vector<std::byte> all;
  for (std::size_t i = 0; i < args.inline_count(); ++i) {
    const auto bytes = args.inline_bytes(i);
    all.insert(all.end(), bytes.begin(), bytes.end());
    all.push_back(std::byte{'|'});
  }
  args.set_result_bytes(all);
});
// What a session might do to its parent: bytes that are a pickle of its choice.
ECHELON_ORCH("returns these bytes", [](Orchestrator&, TaskArgs& args) {
  const auto bytes = args.tensor<const std::uint8_t>(0);
  args.set_result_bytes(std::as_bytes(bytes.span()));
});
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("remote"), LIBRARY)


class Pod:
    """A pod over one remote host, with the library's functions."""

    def __init__(self, address: str, library: Path, **spec: Any) -> None:
        self.worker = ec.Worker(level=4, name="pod0")
        self.far = self.worker.add_remote_worker(
            ec.RemoteWorkerSpec(address, "host0", sub_workers=1, **spec)
        )
        self.worker.register_library(library)
        for name in ("add one", "double", "fail"):
            self.worker.register_sub(name)
        names = (
            "double below",
            "fail below",
            "pid",
            "until cancelled",
            "inline bytes",
            "returns these bytes",
        )
        self.orchs = {name: self.worker.register_orch(name) for name in names}

    def call(self, name: str, args: ec.Args | None = None, **options: Any) -> bytes:
        handle = self.orchs[name]
        return self.worker.run(lambda orch: orch.submit(handle, args, **options).result_bytes())


@pytest.fixture()
def pod(daemon_address: str, library: Path) -> Iterator[Pod]:
    made = Pod(daemon_address, library)
    with made.worker:
        yield made


def double_in(result: bytes) -> float:
    return struct.unpack("<d", result)[0]  # type: ignore[no-any-return]


# --- the smallest program


def test_a_remote_hosts_function_uses_its_own_sub_worker_on_a_tensor_there(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    pod.worker.copy_to(x, np.array([1, 2, 3, 4], np.float32))
    assert double_in(pod.call("double below", ec.Args().inout(x))) == 20
    assert pod.worker.copy_from(x).tolist() == [2, 4, 6, 8]


def test_the_remote_worker_is_in_the_tree_with_its_own_children(pod: Pod) -> None:
    host = pod.worker.tree().children[0]
    assert (host.path, host.state) == ("pod0/host0", "ready")
    assert [child.path for child in host.children] == ["pod0/host0/sub0"]
    assert host.pid not in (0, os.getpid())


def test_ids_of_local_and_remote_workers_count_together(daemon_address: str) -> None:
    pod = ec.Worker(level=4)
    ids = [
        pod.add_worker(ec.Worker(level=3, name="here")),
        pod.add_remote_worker(ec.RemoteWorkerSpec(daemon_address, "there")),
    ]
    with pod:
        assert pod.run(lambda orch: [orch.worker(0), orch.worker(1)]) == ids


# --- copies


def test_parts_go_and_come_by_elements(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, (2, 3), np.int64)
    pod.worker.copy_to(x, [[1, 2, 3], [4, 5, 6]])
    pod.worker.copy_to(x, np.array([8, 9]), offset=2)
    whole = pod.worker.copy_from(x)
    assert whole.dtype == np.int64
    assert whole.tolist() == [[1, 2, 8], [9, 5, 6]]
    assert pod.worker.copy_from(x, offset=4).tolist() == [5, 6]
    assert pod.worker.copy_from(x, offset=1, count=2).tolist() == [2, 8]
    assert pod.worker.copy_from(x, count=0).size == 0


def test_a_slice_is_a_tensor_of_its_own(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, (3, 2), np.int16)
    pod.worker.copy_to(x[1:2], np.array([7, 8], np.int16))
    assert pod.worker.copy_from(x).tolist() == [[0, 0], [7, 8], [0, 0]]
    assert pod.worker.copy_from(x[1:2]).tolist() == [[7, 8]]


def test_a_tensor_larger_than_a_message_comes_back_as_it_went(pod: Pod) -> None:
    values = np.random.default_rng(5).integers(0, 256, 5_000_001, dtype=np.uint8)
    x = pod.worker.remote_tensor(pod.far, values.shape, np.uint8)
    pod.worker.copy_to(x, values)
    np.testing.assert_array_equal(pod.worker.copy_from(x), values)


def test_what_copy_from_gives_outlives_the_tree(daemon_address: str, library: Path) -> None:
    pod = Pod(daemon_address, library)
    with pod.worker:
        x = pod.worker.remote_tensor(pod.far, 2, np.float64)
        pod.worker.copy_to(x, [1, 2])
        values = pod.worker.copy_from(x)
    assert values.tolist() == [1, 2]


def test_a_copy_is_ordered_with_the_tasks(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    pod.worker.copy_to(x, [1, 1, 1, 1])
    double = pod.orchs["double below"]
    runs = [
        pod.worker.submit(lambda orch: orch.submit(double, ec.Args().inout(x))) for _ in range(5)
    ]
    assert pod.worker.copy_from(x).tolist() == [32] * 4
    for run in runs:
        run.wait()


def test_orchestrators_make_remote_tensors_and_copy_in_the_graph(pod: Pod) -> None:
    x, y = pod.worker.tensor(np.arange(4, dtype=np.float32)), pod.worker.tensor(4, np.float32)

    def there_and_back(orch: ec.Orchestrator) -> None:
        far = orch.remote_tensor(pod.far, 4, np.float32)
        orch.copy(far, x)
        orch.submit(pod.orchs["double below"], ec.Args().inout(far))
        orch.copy(y, far)

    pod.worker.run(there_and_back)
    assert y.array().tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w, x: w.copy_to(x, [1.0] * 5), "5 elements from element 0 on, of float32"),
        (lambda w, x: w.copy_to(x, [1.0], offset=4), "1 elements from element 4 on"),
        (lambda w, x: w.copy_to(x, [1.0], offset=-1), "from element -1 on"),
        (lambda w, x: w.copy_from(x, offset=5), "which has 4"),
        (lambda w, x: w.copy_from(x, count=5), "which has 4"),
        (lambda w, x: w.copy_from(x, count=-1), "which has 4"),
        (lambda w, x: w.copy_from(x, 2**62, 2**62), "which has 4"),
        (lambda w, x: w.copy_to(x, np.zeros(4)), r"float64 for float32.*astype\(float32\)"),
        (lambda w, x: w.copy_to(w.tensor(4, np.float32), [1.0]), "not in a remote Worker's"),
        (lambda w, x: w.copy_from(w.tensor(4, np.float32)), r"copy_from.*not in a remote.*array"),
        (lambda w, x: x.array(), r"on another host.*copy_from\(\)"),
    ],
)
def test_what_cannot_be_copied_is_refused_with_what_was_given(
    pod: Pod, call: Any, words: str
) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    pod.worker.copy_to(x, [1, 2, 3, 4])
    with pytest.raises(ec.InvalidArgument, match=words):
        call(pod.worker, x)
    assert pod.worker.copy_from(x).tolist() == [1, 2, 3, 4]


def test_a_freed_tensor_is_stale(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    x.free()
    with pytest.raises(ec.StaleHandle):
        pod.worker.copy_from(x)
    with pytest.raises(ec.StaleHandle):
        pod.worker.copy_to(x, [1.0])


def test_a_full_remote_pool_is_an_error_with_its_sizes(daemon_address: str, library: Path) -> None:
    pod = Pod(daemon_address, library, memory_bytes_max=1 << 20)
    with pod.worker:
        with pytest.raises(
            ec.ResourceExhausted, match="2 MiB are wanted, 0 bytes of 1 MiB are held"
        ):
            pod.worker.remote_tensor(pod.far, 1 << 21, np.uint8)
        assert pod.worker.remote_tensor(pod.far, 1 << 10, np.uint8).nbytes == 1 << 10


def test_a_local_worker_has_no_remote_tensors() -> None:
    pod = ec.Worker(level=4)
    here = pod.add_worker(ec.Worker(level=3))
    with pod, pytest.raises(ec.InvalidArgument, match="not remote; add_remote_worker"):
        pod.remote_tensor(here, 4, np.float32)


def test_ctrl_c_ends_a_copy_that_waits_for_a_task(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    run = pod.worker.submit(
        lambda orch: orch.submit(pod.orchs["until cancelled"], ec.Args().inout(x))
    )
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        pod.worker.copy_from(x)
    run.cancel()
    with pytest.raises(ec.Cancelled):
        run.wait()
    y = pod.worker.remote_tensor(pod.far, 4, np.float32)
    assert pod.worker.copy_from(y).tolist() == [0] * 4


def test_a_copy_that_waits_lets_other_threads_run(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    run = pod.worker.submit(
        lambda orch: orch.submit(pod.orchs["until cancelled"], ec.Args().inout(x))
    )
    other = threading.Timer(0.1, run.cancel)
    other.start()
    assert pod.worker.copy_from(x).tolist() == [0] * 4  # would wait for ever
    other.join()


# --- local tensors


def test_a_local_tensor_is_refused_with_the_ways_to_do_it(pod: Pod) -> None:
    x = pod.worker.tensor(np.arange(4, dtype=np.float32))
    with pytest.raises(ec.InvalidArgument, match=r"remote_tensor\(\).*stage=.copy"):
        pod.call("double below", ec.Args().inout(x))


def test_stage_copy_takes_a_local_tensor_there_and_back(pod: Pod) -> None:
    x = pod.worker.tensor(np.arange(4, dtype=np.float32))
    assert double_in(pod.call("double below", ec.Args().inout(x), stage="copy")) == 12
    assert x.array().tolist() == [0, 2, 4, 6]


def test_a_spec_says_stage_for_all_tasks_and_a_task_for_itself(
    daemon_address: str, library: Path
) -> None:
    pod = Pod(daemon_address, library, stage="copy")
    with pod.worker:
        x = pod.worker.tensor(np.arange(4, dtype=np.float32))
        assert double_in(pod.call("double below", ec.Args().inout(x))) == 12
        with pytest.raises(ec.InvalidArgument, match="stage"):
            pod.call("double below", ec.Args().inout(x), stage="refuse")


def test_a_stage_that_is_none_is_refused(pod: Pod) -> None:
    with pytest.raises(ValueError, match='"copy" or "refuse" was expected, not \'move\''):
        pod.call("pid", stage="move")
    with pytest.raises(TypeError, match="stage: a str was expected, not 3"):
        pod.call("pid", stage=3)


# --- callables


def test_a_native_worker_refuses_a_function_of_python_by_name_with_what_to_do(
    daemon_address: str,
) -> None:
    pod = ec.Worker(level=4)
    pod.add_remote_worker(ec.RemoteWorkerSpec(daemon_address, "host0", runtime="native"))
    here = pod.register_orch(lambda orch: 7, "seven")
    with pod, pytest.raises(ec.InvalidArgument) as raised:
        pod.run(lambda orch: orch.submit(here).result())
    assert raised.value.message == (
        '"seven" is a function of Python, and this Worker runs C++ alone (runtime "native"): say '
        'runtime="python" in its RemoteWorkerSpec, or write the function as ECHELON_ORCH in a '
        "library, then register_library() that and register_orch() its name"
    )


def test_a_function_of_python_runs_on_the_hosts_of_this_machine(daemon_address: str) -> None:
    pod = ec.Worker(level=4)
    far = pod.add_remote_worker(ec.RemoteWorkerSpec(daemon_address, "there", runtime="native"))
    near = pod.add_worker(ec.Worker(level=3, name="here"))
    path = pod.register_orch(lambda orch: orch.path)
    with pod:
        assert pod.run(lambda orch: orch.submit(path, worker=near).result()) == "pod0/here"
        late = pod.register_orch(lambda orch: orch.path, "late")
        assert pod.run(lambda orch: orch.submit(late, worker=near).result()) == "pod0/here"
        with pytest.raises(ec.InvalidArgument, match='"late" is a function of Python'):
            pod.run(lambda orch: orch.submit(late, worker=far).result())
        pod.unregister(late)


def test_a_function_of_python_is_refused_where_all_workers_are_native(library: Path) -> None:
    words = r'nobody can run it, as pod0/host0 says that it runs C\+\+ alone \(runtime "native"\)'
    with daemon("--allow", "library,pickle") as made:
        pod = Pod(made.address, library, runtime="native")
        with pod.worker:
            for register in (pod.worker.register_orch, pod.worker.register_sub):
                with pytest.raises(ec.RegistrationFailed, match=words):
                    register(lambda _: 7, "seven")
            assert len(pod.call("pid")) == 8


def test_a_daemon_that_allows_no_pickle_refuses_one_in_a_running_tree(pod: Pod) -> None:
    with pytest.raises(ec.RegistrationFailed, match="pod0/host0.*--allow pickle"):
        pod.worker.register_orch(lambda orch: 7, "seven")
    assert len(pod.call("pid")) == 8


def test_a_library_and_its_functions_are_registered_in_a_running_remote_tree(
    daemon_address: str, library: Path
) -> None:
    pod = ec.Worker(level=4)
    pod.add_remote_worker(ec.RemoteWorkerSpec(daemon_address, "host0", sub_workers=1))
    with pod:
        pod.register_library(library)
        add = pod.register_sub("add one")
        pid = pod.register_orch("pid")
        assert len(pod.run(lambda orch: orch.submit(pid).result_bytes())) == 8
        pod.unregister(add)


def test_a_remote_failure_says_where_it_happened(pod: Pod) -> None:
    with pytest.raises(ec.TaskFailed, match="it is as it is") as raised:
        pod.call("fail below")
    assert (raised.value.path, raised.value.callable) == ("pod0/host0/sub0", "fail")


def test_a_daemon_that_allows_no_library_refuses_it(library: Path) -> None:
    with daemon() as strict:
        pod = Pod(strict.address, library)
        with pytest.raises(ec.StartFailed, match="library"):
            pod.worker.start()


# --- results


def returned(pod: Pod, pickled: bytes) -> Any:
    x = pod.worker.remote_tensor(pod.far, len(pickled), np.uint8)
    pod.worker.copy_to(x, np.frombuffer(pickled, np.uint8))
    handle = pod.orchs["returns these bytes"]
    return pod.worker.run(lambda orch: orch.submit(handle, ec.Args().input(x)).result())


class Runs:
    def __reduce__(self) -> Any:
        return os.putenv, ("ECHELON_TEST_RAN", "1")


PLAIN = [None, True, 3, 2**80, 1.5, "text", b"bytes", [1, (2, {"a": None, (1, "b"): {}})]]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read_from_a_session_that_is_not_trusted(protocol: int) -> None:
    # Before protocol 3 bytes are made by a function.
    values = PLAIN if protocol >= 3 else [value for value in PLAIN if value != b"bytes"]
    assert plain.loads(pickle.dumps(values, protocol)) == values


def test_a_session_that_is_not_trusted_runs_nothing_here(pod: Pod) -> None:
    assert returned(pod, pickle.dumps(PLAIN)) == PLAIN
    with pytest.raises(ec.Error, match=r"posix\.putenv is no plain data.*trust_results=True"):
        returned(pod, pickle.dumps(Runs()))


def test_a_session_that_is_trusted_is_unpickled(daemon_address: str, library: Path) -> None:
    pod = Pod(daemon_address, library, trust_results=True)
    with pod.worker:
        when = datetime.date(2030, 1, 2)
        assert returned(pod, pickle.dumps(when)) == when


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_is_named_by_a_plain_pickle(protocol: int) -> None:
    with pytest.raises(pickle.UnpicklingError, match="putenv is no plain data"):
        plain.loads(pickle.dumps(Runs(), protocol))


@pytest.mark.parametrize("operation", [b"Ns.", b"Nd.", b"Nu."])
def test_a_key_whose_hash_would_take_for_ever_is_refused(operation: bytes) -> None:
    begin = b"}" if operation != b"Nd." else b""
    mark = b"(" if operation != b"Ns." else b""
    twice = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    with pytest.raises(pickle.UnpicklingError, match="a dict's key that is neither"):
        plain.loads(begin + mark + twice + operation)


@pytest.mark.parametrize("value", [{1}, frozenset({1}), bytearray(b"x")])
def test_sets_and_bytearrays_are_no_plain_data(value: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="no plain data"):
        plain.loads(pickle.dumps(value, 5))


def test_a_bytearray_is_not_made_as_long_as_it_says() -> None:
    with pytest.raises(pickle.UnpicklingError, match="no plain data"):
        plain.loads(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".")


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x80",
        b"\x80\x05",
        b"\x80\xff.",
        b"N",
        b"a.",
        b"r\xff\xff\xff\xff.",
        b"Nr\xff\xff\xff\xff",
        b"B\xff\xff\xff\xff.",
        b"\x82\x01.",
        b"\x97.",
        b"P1\n.",
        b"}N(b.",
        b"(" * 5000 + b"t" * 5000,
    ],
)
def test_a_damaged_plain_pickle_raises(damaged: bytes) -> None:
    with pytest.raises(Exception):  # noqa: B017
        plain.loads(damaged)


# --- ends


def test_a_session_that_dies_fails_its_tasks_and_is_named(pod: Pod) -> None:
    pid = int.from_bytes(pod.call("pid"), "little")
    run = pod.worker.submit(lambda orch: orch.submit(pod.orchs["until cancelled"]))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ec.ChildLost, match="pod0/host0"):
        run.wait()


def test_closing_ends_the_session(daemon_address: str, library: Path) -> None:
    pod = Pod(daemon_address, library)
    with pod.worker:
        pid = int.from_bytes(pod.call("pid"), "little")
        assert is_alive(pid)
    assert eventually(lambda: not is_alive(pid))


def test_nobody_at_the_address_is_a_start_that_names_it() -> None:
    with daemon() as ended:
        pass
    pod = ec.Worker(level=4)
    pod.add_remote_worker(ec.RemoteWorkerSpec(ended.address, "host0"))
    with pytest.raises(ec.StartFailed, match=ended.address):
        pod.start()


def test_a_tree_is_started_over_tls(tmp_path: Path, library: Path) -> None:
    authority = str(tmp_path / "authority")
    assert command_line("keys", "init", authority).returncode == 0
    for name in ("here", "there"):
        issued = command_line("keys", "issue", authority, name, "--ip", "127.0.0.1")
        assert issued.returncode == 0, issued.stderr
    keys = tmp_path / "authority"
    with daemon("--allow", "library", "--tls-dir", str(keys / "there")) as there:
        with pytest.raises(ec.StartFailed):
            Pod(there.address, library).worker.start()
        pod = Pod(there.address, library, tls_dir=keys / "here")
        with pod.worker:
            assert len(pod.call("pid")) == 8


# --- the spec


def test_a_spec_keeps_what_it_was_given() -> None:
    spec = ec.RemoteWorkerSpec(
        "host:1",
        "far",
        level=4,
        sub_workers=3,
        chips=["cpu:1"],
        memory_bytes_max=5,
        lane="auto",
        tls_dir=Path("/keys"),
        insecure=True,
        connect_timeout=1,
        lease=datetime.timedelta(seconds=20),
        health_deadline=0.5,
        unresponsive_after=3,
        trust_results=True,
        stage="copy",
        runtime="native",
    )
    assert (spec.address, spec.name, spec.level, spec.sub_workers) == ("host:1", "far", 4, 3)
    assert [(chip.driver, chip.device) for chip in spec.chips] == [("cpu", 1)]
    assert (spec.memory_bytes_max, spec.lane, spec.tls_dir) == (5, "auto", "/keys")
    assert (spec.insecure, spec.trust_results, spec.stage) == (True, True, "copy")
    times = (spec.connect_timeout, spec.lease, spec.health_deadline, spec.unresponsive_after)
    assert times == (1, 20, 0.5, 3)
    assert spec.runtime == "native"


def test_a_specs_attributes_are_set_as_they_are_given() -> None:
    spec = ec.RemoteWorkerSpec("127.0.0.1:1", "far")
    assert (spec.lease, spec.stage, spec.tls_dir, spec.chips) == (10, "refuse", "", [])
    spec.lease, spec.stage = datetime.timedelta(minutes=1), "copy"
    spec.chips, spec.tls_dir = 2, Path("/keys")
    assert (spec.lease, spec.stage, spec.tls_dir) == (60, "copy", "/keys")
    assert len(spec.chips) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stage": "move"}, '"copy" or "refuse" was expected'),
        ({"stage": 3}, "stage: a str was expected"),
        ({"runtime": "java"}, '"python" or "native" was expected'),
        ({"lease": "long"}, "lease: seconds or a datetime.timedelta were expected"),
        ({"chips": "cpu"}, "chips: a number of cpu chips"),
        ({"tls_dir": 3}, "tls_dir: a str or an os.PathLike was expected, not 3"),
        ({"hosts": 3}, "hosts"),
    ],
)
def test_a_spec_of_the_wrong_types_is_refused_at_once(given: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        ec.RemoteWorkerSpec("127.0.0.1:1", "far", **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"address": "nowhere"}, "nowhere"),
        ({"address": "192.0.2.1:7171"}, "nothing protects the way there: give tls_dir"),
        ({"name": ""}, "the name is empty"),
        ({"level": 4}, "level"),
        ({"sub_workers": 257}, "256"),
        ({"lane": "carrier pigeon"}, 'no lane "carrier pigeon" here'),
        ({"tls_dir": "/nowhere"}, r"/nowhere has no ca\.pem"),
        ({"lease": 1, "health_deadline": 2}, "health_deadline <= lease"),
        ({"connect_timeout": 0}, "no time to connect in"),
    ],
)
def test_a_spec_that_is_not_possible_is_refused_when_it_is_added(
    given: dict[str, Any], words: str
) -> None:
    spec = {"address": "127.0.0.1:1", "name": "far", **given}
    with pytest.raises(ec.InvalidArgument, match=words):
        ec.Worker(level=4).add_remote_worker(ec.RemoteWorkerSpec(**spec))


def test_remote_workers_belong_below_level_4_and_before_the_start() -> None:
    spec = ec.RemoteWorkerSpec("127.0.0.1:1", "far")
    with pytest.raises(ec.InvalidArgument, match="level"):
        ec.Worker(level=3).add_remote_worker(spec)
    with ec.Worker(level=4) as pod, pytest.raises(ec.WrongState):
        pod.add_remote_worker(spec)
    with pytest.raises(TypeError, match="a RemoteWorkerSpec was expected, not 'far'"):
        ec.Worker(level=4).add_remote_worker("far")  # type: ignore[arg-type]


def test_the_daemon_says_where_it_serves_and_ends_in_order(daemon_address: str) -> None:
    with daemon() as served:
        assert served.address != daemon_address
    assert isinstance(served, Daemon)
    assert served.process.returncode == 0


# --- the example


def test_the_example_names_each_step_and_results_come_back_both_ways(
    tmp_path: Path,
) -> None:
    with daemon("--allow", "pickle") as made:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE / "main.py"), made.address],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f'pod0 submits "on the host" to {made.address}',
        'pod0/host0 submits "double" to its own sub-worker',
        "pod0/host0/sub0 runs it",
        "by return value: 20",
        "by copy_from: 2 4 6 8",
    ]


# --- copies that are not waited for


def test_a_copy_is_begun_and_waited_for_later(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    there = pod.worker.copy_to_async(x, np.array([1, 2, 3, 4], np.float32))
    back = pod.worker.copy_from_async(x, offset=1, count=2)  # ordered behind it
    assert there.wait(timeout=60) and there.done()
    assert there.result() is None
    assert back.result().tolist() == [2, 3]


def test_a_copy_can_be_awaited(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, (2, 2), np.int32)

    async def there_and_back() -> Any:
        await pod.worker.copy_to_async(x, np.array([[1, 2], [3, 4]], np.int32))
        return await pod.worker.copy_from_async(x)

    assert asyncio.run(there_and_back()).tolist() == [[1, 2], [3, 4]]


def test_a_copy_keeps_the_array_until_it_has_ended(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    held = pod.worker.submit(
        lambda orch: orch.submit(pod.orchs["until cancelled"], ec.Args().inout(x)) and None
    )
    values = np.array([1, 2, 3, 4], np.float32)
    watched = weakref.ref(values)
    run = pod.worker.copy_to_async(x, values)
    del values
    assert watched() is not None
    assert not run.wait(timeout=0)
    held.cancel()
    assert run.wait(timeout=60)
    assert watched() is None
    assert pod.worker.copy_from(x).tolist() == [1, 2, 3, 4]


def test_an_array_outlives_a_run_that_nobody_kept(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 4, np.float32)
    held = pod.worker.submit(
        lambda orch: orch.submit(pod.orchs["until cancelled"], ec.Args().inout(x)) and None
    )
    pod.worker.copy_to_async(x, np.array([5, 6, 7, 8], np.float32))
    held.cancel()
    assert pod.worker.copy_from(x).tolist() == [5, 6, 7, 8]


def test_a_copy_that_is_cancelled_in_time_moves_nothing(pod: Pod) -> None:
    x = pod.worker.remote_tensor(pod.far, 2, np.float32)
    held = pod.worker.submit(
        lambda orch: orch.submit(pod.orchs["until cancelled"], ec.Args().inout(x)) and None
    )
    run = pod.worker.copy_to_async(x, [1, 2])
    run.cancel()
    with pytest.raises(ec.Cancelled):
        run.wait(timeout=60)
    held.cancel()
    assert pod.worker.copy_from(x).tolist() == [0, 0]


# --- bytes within a task


def test_inline_bytes_travel_with_the_task(pod: Pod) -> None:
    assert pod.call("inline bytes", ec.Args().inline_bytes(b"ab").inline_bytes(b"")) == b"ab||"


@pytest.mark.parametrize(
    "data", [b"\1\2", bytearray(b"\1\2"), memoryview(b"\1\2"), np.array([1, 2], np.uint8)]
)
def test_whatever_shows_its_bytes_is_taken(pod: Pod, data: Any) -> None:
    assert pod.call("inline bytes", ec.Args().inline_bytes(data)) == b"\1\2|"


def test_more_inline_bytes_than_a_task_takes_are_refused() -> None:
    args = ec.Args().inline_bytes(bytes(1 << 20))
    with pytest.raises(ec.InvalidArgument, match="1 bytes beside 1048576.*1048576 at most.*tensor"):
        args.inline_bytes(b"x")


def test_what_shows_no_bytes_is_refused() -> None:
    with pytest.raises(TypeError, match="inline_bytes: bytes, .* was expected, not 'text'"):
        ec.Args().inline_bytes("text")  # type: ignore[arg-type]


def test_a_python_function_sees_them() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    seen = host.register_sub(lambda task: task.inline_bytes)
    with host:
        args = ec.Args().inline_bytes(b"one").inline_bytes(b"two")
        assert host.run(lambda orch: orch.submit(seen, args).result()) == (b"one", b"two")
