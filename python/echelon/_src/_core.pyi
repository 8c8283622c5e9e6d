# SPDX-License-Identifier: Apache-2.0
import datetime
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy
import numpy.typing

VERSION: str = ...

T = TypeVar("T")

def _keep_private(memory: object) -> tuple[int, int]: ...
def _end_private(address: int, bytes: int) -> None: ...

class ErrorInfo:
    """Everything known of one failure; empty and 0 mean "not known"."""

    @property
    def kind(self) -> str:
        """The name of the exception class that belongs to it."""

    @property
    def code(self) -> str:
        """One of gRPC's sixteen, in words: "invalid argument"."""

    @property
    def reason(self) -> str:
        """What happened, finer than the code."""

    @property
    def phase(self) -> str:
        """
        Where in its life the task was: "queued", "staging", "running", "returning", "none".
        """

    @property
    def cause(self) -> str:
        """What ended it: "exception", "signal", "deadline", ..."""

    @property
    def message(self) -> str:
        """One sentence: what was given, what was expected, what to do."""

    @property
    def path(self) -> str:
        """Where in the tree it happened: "pod0/host1/sub0"."""

    @property
    def host(self) -> str:
        """Name of the machine."""

    @property
    def callable(self) -> str:
        """The name under which the callable was registered."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the callable's descriptor."""

    @property
    def traceback(self) -> str:
        """The other process's own stack, as text."""

    @property
    def exception(self) -> bytes:
        """The pickled exception; empty where there is none."""

    @property
    def pid(self) -> int:
        """Of the process that it happened in; 0: not known."""

    @property
    def signal(self) -> int:
        """The signal that ended the process, with cause "signal"."""

    @property
    def exit_code(self) -> int:
        """Of the process, with cause "exit"."""

    @property
    def time_in_phase(self) -> float:
        """Seconds in that phase."""

    @property
    def others(self) -> list[ErrorInfo]:
        """The other errors of the same run, oldest first."""

    def describe(self) -> str:
        """
        All of it as text, the way it is printed.

        >>> try:
        ...     host.sub_worker(9)
        ... except ec.Error as error:
        ...     print(error.info.describe())
        bad argument: sub-worker 9 of host0, which has 2
        """

class NodeInfo:
    """What one process of the tree is and has done."""

    @property
    def name(self) -> str:
        """ "host1"."""

    @property
    def path(self) -> str:
        """ "pod0/host1"."""

    @property
    def kind(self) -> str:
        """ "worker", "sub" or "chip"."""

    @property
    def level(self) -> int:
        """2 to 6; 1 for sub-workers."""

    @property
    def state(self) -> str:
        """ "ready", "down: killed by signal 9 (SIGKILL)", ..."""

    @property
    def host(self) -> str:
        """Name of its machine, where that is not the root's."""

    @property
    def pid(self) -> int:
        """0 where there is no process."""

    @property
    def tasks(self) -> int:
        """Callables run here."""

    @property
    def tasks_failed(self) -> int:
        """Of the tasks run here, how many raised or were refused."""

    @property
    def busy(self) -> float:
        """Seconds inside callables."""

    @property
    def up(self) -> float:
        """Seconds since it was started."""

    @property
    def bytes_in(self) -> int:
        """Bytes of tensors given to it to read."""

    @property
    def bytes_out(self) -> int:
        """Bytes of tensors given to it to write."""

    @property
    def lost_wakeups(self) -> int:
        """0 unless there is a bug."""

    @property
    def children(self) -> list[NodeInfo]:
        """In the order in which they were given: sub-workers, chips, Workers."""

    def __repr__(self) -> str: ...

class SubHandle:
    """A registered sub function; valid in the whole subtree of its Worker."""

    @property
    def name(self) -> str:
        """The name under which it was registered."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> tuple[int, int, int, str]: ...
    def __setstate__(self, state: tuple[int, int, int, str]) -> None: ...
    def __repr__(self) -> str: ...

class OrchHandle:
    """
    A registered orchestration function; valid in the whole subtree of its Worker.
    """

    @property
    def name(self) -> str:
        """The name under which it was registered."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> tuple[int, int, int, str]: ...
    def __setstate__(self, state: tuple[int, int, int, str]) -> None: ...
    def __repr__(self) -> str: ...

class ChipHandle:
    """A registered chip kernel; valid in the whole subtree of its Worker."""

    @property
    def name(self) -> str:
        """The name under which it was registered."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> tuple[int, int, int, str]: ...
    def __setstate__(self, state: tuple[int, int, int, str]) -> None: ...
    def __repr__(self) -> str: ...

class LibraryHandle:
    """A shared object that was loaded into the processes of a tree."""

    @property
    def name(self) -> str:
        """The name under which it was registered."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> tuple[int, int, int, str]: ...
    def __setstate__(self, state: tuple[int, int, int, str]) -> None: ...
    def __repr__(self) -> str: ...

class WorkerId:
    """A child of a Worker."""

    @property
    def value(self) -> int:
        """
        Its number among all children of its Worker: sub-workers, then chips, then Workers.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> tuple[int]: ...
    def __setstate__(self, state: tuple[int]) -> None: ...
    def __repr__(self) -> str: ...

class Tensor:
    """
    A handle of memory in the tree, with dtype and shape.

    Made by Worker.tensor(), Worker.chip_tensor(), Orchestrator.alloc() and as a task's output. Copies
    and slices share the memory; it is given back with the last handle, array and task that uses it.
    np.asarray(t), memoryview(t) and np.from_dlpack(t) see the elements without a copy.

    >>> t = ec.Worker(level=3).tensor(np.arange(6).reshape(2, 3))
    >>> t.shape, t.dtype, t.nbytes
    ((2, 3), dtype('int64'), 48)
    >>> t[:, 1:].array()[0, 0] = 7  # a view
    >>> t.array()
    array([[0, 7, 2],
           [3, 4, 5]])
    """

    def array(self) -> numpy.typing.NDArray[Any]:
        """
        The elements as a NumPy array, without a copy; read-only where the tensor is lent so.

        Raises InvalidArgument for a chip's tensor (copy it to a host tensor first) and StaleHandle once
        the memory is gone.

        >>> host.tensor(np.arange(3)).array()
        array([0, 1, 2])
        """

    def __array__(
        self, dtype: Any = None, *, copy: bool | None = None
    ) -> numpy.typing.NDArray[Any]: ...
    def __dlpack__(self, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> numpy.dtype[Any]:
        """
        Element type, a numpy.dtype (bfloat16 without ml_dtypes: the text "bfloat16").
        """

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in elements, outermost first."""

    @property
    def ndim(self) -> int:
        """Dimensions, 0 to 8."""

    @property
    def size(self) -> int:
        """Number of elements."""

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""

    @property
    def writable(self) -> bool:
        """False: lent for reading."""

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Tensor:
        """
        A part, by slices with step 1; no copy. Tasks on disjoint parts do not wait for each other.
        """

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """
        The same elements in another shape. Raises InvalidArgument where it is not contiguous or the sizes differ.

        >>> host.tensor(np.arange(6)).reshape(2, 3).shape
        (2, 3)
        """

    def free(self) -> None:
        """
        Gives the memory back now; every handle of it is stale from here on. Raises WrongState while arrays of it are alive, InvalidArgument for a tensor lent to a task.

        >>> x = host.tensor(np.arange(6))
        >>> x.free()
        >>> x.array()
        Traceback (most recent call last):
        ...
        echelon._src.errors.StaleHandle: ...
        """

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __repr__(self) -> str: ...
    def __reduce__(self) -> Any: ...

class Args:
    """
    What a task is given: tensors with their tags, and scalars.

    Each call returns the same Args, so that they chain: ``ec.Args().input(x).output(y).scalar(3.0)``.
    Tensors and scalars are two lists, each in the order of its calls; at most 64 of each.

    >>> x = ec.Worker(level=3).tensor((4,), np.float32)
    >>> ec.Args().input(x).scalar(3).scalar(0.5, np.float32)
    <Args: 1 tensors, 2 scalars>
    """

    def __init__(self) -> None: ...
    def input(self, tensor: Tensor) -> Args:
        """
        Read by the task.

        >>> ec.Args().input(host.tensor((4,), np.float32))
        <Args: 1 tensors, 0 scalars>
        """

    def output(self, tensor: Tensor | int | tuple[int, ...], dtype: Any = None) -> Args:
        """
        Written whole by the task: a tensor, or a shape and a dtype, and submit() allocates it (TaskHandle.output()).

        >>> ec.Args().output((4,), np.float32)  # allocated by submit()
        <Args: 1 tensors, 0 scalars>
        """

    def inout(self, tensor: Tensor) -> Args:
        """
        Read and written in place.

        >>> ec.Args().inout(host.tensor((4,), np.float32))
        <Args: 1 tensors, 0 scalars>
        """

    def output_existing(self, tensor: Tensor) -> Args:
        """
        Written in part: what is not written stays as it was.

        >>> ec.Args().output_existing(host.tensor((4,), np.float32))
        <Args: 1 tensors, 0 scalars>
        """

    def no_dep(self, tensor: Tensor) -> Args:
        """
        Read without taking part in the ordering.

        >>> ec.Args().no_dep(host.tensor((4,), np.float32))
        <Args: 1 tensors, 0 scalars>
        """

    def scalar(self, value: Any, dtype: Any = None) -> Args:
        """
        A number by value: a float is float64, an int int64, a NumPy scalar what it is; or as `dtype`, which must hold it: 300 as int8 and 1.5 as int32 are refused.

        >>> ec.Args().scalar(3.0).scalar(7, np.int8)
        <Args: 0 tensors, 2 scalars>
        """

    def __repr__(self) -> str: ...
    def inline_bytes(
        self, data: bytes | bytearray | memoryview | numpy.typing.NDArray[Any]
    ) -> Args:
        """
        Bytes by value, copied now: a small table, a text. They travel within the task, wherever it runs, and are read there as TaskArgs.inline_bytes; not by chip kernels. At most 64 times and 1 MiB in all for one task: raises InvalidArgument beyond. Larger data belongs in a tensor, which travels once, not with each task.

        >>> length = host.register_sub(lambda task: len(task.inline_bytes[0]))
        >>> args = ec.Args().inline_bytes(b"a few words")
        >>> host.run(lambda orch: orch.submit(length, args).result())
        11
        """

class CallConfig:
    """
    How a callable is to be run; crosses every level unchanged.

    grid: blocks of a chip kernel in x, y, z. cores: of the chip, 0 means all. values: your own
    texts.

    >>> ec.CallConfig(grid=(4, 1, 1), values={"seed": "7"})
    CallConfig(grid=(4, 1, 1), cores=0, profiling=0, values={'seed': '7'})
    """

    def __init__(
        self,
        *,
        grid: tuple[int, int, int] = (1, 1, 1),
        cores: int = 0,
        profiling: int = 0,
        values: Mapping[str, str] = {},
    ) -> None: ...
    @property
    def grid(self) -> tuple[int, int, int]:
        """Blocks of a chip kernel's launch in x, y, z; each at least 1."""

    @grid.setter
    def grid(self, grid: Sequence[int], /) -> None: ...
    @property
    def cores(self) -> int:
        """Cores of the chip to spread the grid over; 0: all of them."""

    @cores.setter
    def cores(self, arg: int, /) -> None: ...
    @property
    def profiling(self) -> int:
        """Profiling flags for drivers and tools; the runtime passes them on."""

    @profiling.setter
    def profiling(self, arg: int, /) -> None: ...
    @property
    def scope(self) -> str:
        """The submitting scope; set by the runtime."""

    @property
    def values(self) -> dict[str, str]:
        """Your own keys and values, texts; at most 16 KiB in all."""

    @values.setter
    def values(self, arg: Mapping[str, str], /) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __getstate__(self) -> tuple[Any, ...]: ...
    def __setstate__(self, state: tuple[Any, ...]) -> None: ...
    def __repr__(self) -> str: ...

class _Argument:
    """The memory of one argument of a running task."""

class TaskArgs:
    """
    The arguments of the running orchestration function.

    Arrays are views of shared memory, valid while it runs: a function that keeps one beyond its return
    fails. Those of tensors tagged input are read-only.
    """

    def arrays(self) -> list[numpy.typing.NDArray[Any]]:
        """
        All tensors as NumPy arrays, in the order in which they were added; no copies.

        >>> def add(task):
        ...     x, y, total = task.arrays()
        ...     total[:] = x + y
        >>> h = host.register_sub(add)
        >>> x, total = host.tensor(np.arange(3)), host.tensor((3,), int)
        >>> args = ec.Args().input(x).input(x).output(total)
        >>> host.run(lambda orch: orch.submit(h, args).wait())
        True
        >>> total.array()
        array([0, 2, 4])
        """

    def array(self, i: int) -> numpy.typing.NDArray[Any]:
        """
        Tensor `i` as a NumPy array; no copy. Raises InvalidArgument where there is none.

        >>> total = host.register_sub(lambda task: int(task.array(0).sum()))
        >>> args = ec.Args().input(host.tensor(np.arange(4)))
        >>> host.run(lambda orch: orch.submit(total, args).result())
        6
        """

    @property
    def scalars(self) -> tuple[Any, ...]:
        """All scalars as Python numbers, in the order in which they were added."""

    @property
    def inline_bytes(self) -> tuple[bytes, ...]:
        """
        What Args.inline_bytes() was given, each a copy, in the order in which it was given.
        """

    @property
    def tensor_count(self) -> int:
        """Tensors of the task."""

    def handle(self, i: int) -> Tensor:
        """
        Tensor `i` as a handle, to be submitted further down as its tag allows. For orchestration functions.

        >>> pod = ec.Worker(level=4)
        >>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
        >>> total = pod.register_sub(lambda task: int(task.array(0).sum()))
        >>> def pass_on(orch, args):
        ...     return orch.submit(total, ec.Args().input(args.handle(0))).result()
        >>> each = pod.register_orch(pass_on)
        >>> with pod:
        ...     given = ec.Args().input(pod.tensor(np.arange(4)))
        ...     pod.run(lambda orch: orch.submit(each, given).result())
        6
        """

    def handles(self) -> list[Tensor]:
        """
        All tensors as handles.

        >>> pod = ec.Worker(level=4)
        >>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
        >>> each = pod.register_orch(lambda orch, args: len(args.handles()))
        >>> with pod:
        ...     given = ec.Args().input(pod.tensor(np.arange(4)))
        ...     pod.run(lambda orch: orch.submit(each, given).result())
        1
        """

    @property
    def config(self) -> CallConfig:
        """
        How the callable is to be run, as the submit or an Orchestrator above it said.
        """

    @property
    def path(self) -> str:
        """Of the process this runs in: "pod0/host1/sub0"."""

    def cancelled(self) -> bool:
        """
        True once the run was cancelled or the deadline has passed: stop early.

        >>> ask = host.register_sub(lambda task: task.cancelled())
        >>> host.run(lambda orch: orch.submit(ask).result())
        False
        """

    def deadline(self) -> float | None:
        """
        As of time.monotonic(), in seconds; None without one.

        >>> ask = host.register_sub(lambda task: task.deadline())
        >>> host.run(lambda orch: orch.submit(ask).result()) is None
        True
        """

    def __repr__(self) -> str: ...

class Task(TaskArgs):
    """
    The argument of a sub function.

    ``x, y = task.arrays()`` are NumPy views of shared memory, ``task.scalars[0]`` a number. What the
    function returns is the task's result.

    >>> host = ec.Worker(level=3, sub_workers=1)
    >>> power = host.register_sub(lambda task: task.scalars[0] ** task.scalars[1])
    >>> with host:
    ...     host.run(lambda orch: orch.submit(power, ec.Args().scalar(2).scalar(10)).result())
    1024
    """

    def __repr__(self) -> str: ...

class TaskHandle:
    """A submitted task. Meaningful until the run it belongs to has ended."""

    def wait(self, timeout: float | datetime.timedelta | None = None) -> bool:
        """
        Returns True when the task has ended, False after `timeout` seconds; raises its error.

        >>> seven = host.register_sub(lambda task: 7)
        >>> host.run(lambda orch: orch.submit(seven).wait(timeout=10))
        True
        """

    def done(self) -> bool:
        """
        Never blocks.

        >>> seven = host.register_sub(lambda task: 7)
        >>> def look(orch):
        ...     task = orch.submit(seven)
        ...     task.wait()
        ...     return task.done()
        >>> host.run(look)
        True
        """

    def result(self) -> Any:
        """
        Waits; then what the Python function returned. Raises the task's error. Of a remote Worker whose spec does not say trust_results only plain data is taken: None, bool, int, float, str, bytes, list, tuple, dict.

        >>> seven = host.register_sub(lambda task: 7)
        >>> host.run(lambda orch: orch.submit(seven).result())
        7
        """

    def result_bytes(self) -> bytes:
        """
        Waits; then the result of a C++ function, as the bytes that it set.

        >>> nothing = host.register_sub(lambda task: None)
        >>> host.run(lambda orch: orch.submit(nothing).result_bytes())
        b''
        """

    def output(self, i: int = ...) -> Tensor:
        """
        The i-th output that submit() allocated (Args.output(shape, dtype)).

        >>> def ones(task):
        ...     task.array(0)[:] = 1
        >>> h = host.register_sub(ones)
        >>> args = ec.Args().output((3,), np.float32)
        >>> host.run(lambda orch: orch.submit(h, args).output(0)).array()
        array([1., 1., 1.], dtype=float32)
        """

    def __repr__(self) -> str: ...

class Scope:
    """
    A named part of an orchestration function.

    ``with orch.scope("load"):`` Errors about used-up resources name it. Its tasks go on after its
    end.
    """

    def wait(self) -> None:
        """
        Returns when every task submitted in this scope has ended; raises the first error.

        >>> seven = host.register_sub(lambda task: 7)
        >>> def two_steps(orch):
        ...     with orch.scope("first") as first:
        ...         task = orch.submit(seven)
        ...         first.wait()
        ...     return task.done()
        >>> host.run(two_steps)
        True
        """

    def __enter__(self) -> Scope: ...
    def __exit__(self, *raised: object) -> None: ...

class Orchestrator:
    """
    Submits tasks to the children of one Worker, inside an orchestration function.
    """

    def submit(
        self,
        callable: SubHandle | OrchHandle | ChipHandle,
        args: Args | None = None,
        *,
        worker: WorkerId | None = None,
        after: TaskHandle | Iterable[TaskHandle] | None = None,
        deadline: float | datetime.timedelta | None = None,
        config: CallConfig | None = None,
        stage: Literal["copy", "refuse"] | None = None,
    ) -> TaskHandle:
        """
        Gives a task to a child: the least loaded of those that can run it, or `worker`.

        after: tasks to wait for beyond what the tags say. deadline: seconds from now. stage: what becomes
        of tensors of this host that are given to a remote Worker's task; "copy": inputs are copied there
        before it, outputs and inouts back after it, so that an inout is not in place; "refuse":
        InvalidArgument; None: as the Worker's RemoteWorkerSpec says. Waits only while the Worker's tables
        are full. Raises InvalidArgument, StaleHandle, ResourceExhausted, Cancelled,
        DeadlineExceeded, and TypeError for what is no handle; nothing is submitted then.

        >>> double = host.register_sub(lambda task: 2 * task.scalars[0])
        >>> def twice(orch):
        ...     first = orch.submit(double, ec.Args().scalar(1))
        ...     second = orch.submit(double, ec.Args().scalar(2), after=first, deadline=10)
        ...     return first.result() + second.result()
        >>> host.run(twice)
        6
        """

    def submit_group(
        self,
        callable: SubHandle | OrchHandle | ChipHandle,
        args: list[Args],
        *,
        workers: list[WorkerId] = [],
        after: TaskHandle | Iterable[TaskHandle] | None = None,
        deadline: float | datetime.timedelta | None = None,
        config: CallConfig | None = None,
        stage: Literal["copy", "refuse"] | None = None,
    ) -> list[TaskHandle]:
        """
        One task for each of `args`, each on a child of its own, launched together or not at all; with copies, as submit()'s `stage` says, when all of them are there.

        >>> where = host.register_sub(lambda task: task.path)
        >>> def both(orch):
        ...     return sorted(task.result() for task in orch.submit_group(where, [ec.Args()] * 2))
        >>> host.run(both)
        ['host0/sub0', 'host0/sub1']
        """

    def copy(
        self,
        dst: Tensor,
        src: Tensor,
        *,
        worker: WorkerId | None = None,
        after: TaskHandle | Iterable[TaskHandle] | None = None,
        deadline: float | datetime.timedelta | None = None,
        config: CallConfig | None = None,
    ) -> TaskHandle:
        """
        Copies elements as a task; host and chip tensors on either side. Raises InvalidArgument where dtype or shape differ.

        >>> x, y = host.tensor(np.arange(3)), host.tensor((3,), int)
        >>> host.run(lambda orch: orch.copy(y, x).wait())
        True
        >>> y.array()
        array([0, 1, 2])
        """

    def alloc(self, shape: int | tuple[int, ...], dtype: Any) -> Tensor:
        """
        A tensor of this Worker; its bytes are undefined.

        >>> host.run(lambda orch: orch.alloc((2, 3), np.float32)).shape
        (2, 3)
        """

    def chip_tensor(self, chip: int, shape: int | tuple[int, ...], dtype: Any) -> Tensor:
        """
        A tensor in the memory of this Worker's chip number `chip`; zeroed.

        >>> host.run(lambda orch: orch.chip_tensor(0, (2, 3), np.float32)).shape
        (2, 3)
        """

    def remote_tensor(self, worker: WorkerId, shape: int | tuple[int, ...], dtype: Any) -> Tensor:
        """
        A tensor in the memory of the remote Worker `worker`; its bytes are undefined. Raises InvalidArgument where `worker` is not remote, ResourceExhausted where its memory is full, ChildLost. In the example `address` is that of a daemon.

        >>> pod = ec.Worker(level=4)
        >>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
        >>> with pod:
        ...     pod.run(lambda orch: orch.remote_tensor(far, (2, 3), np.float32)).shape
        (2, 3)
        """

    def scope(self, name: str) -> Scope:
        """
        A named part of this function; a context manager.

        >>> def load(orch):
        ...     with orch.scope("load"):
        ...         return orch.alloc(4, np.float32).nbytes
        >>> host.run(load)
        16
        """

    def find_sub(self, name: str) -> SubHandle:
        """
        The sub function that was registered under this name on this Worker or above it.

        Of several the nearest Worker's. Looks through all there are: once a call, not once a task. Raises
        InvalidArgument with the names that there are.

        >>> seven = host.register_sub(lambda task: 7, "seven")
        >>> host.run(lambda orch: orch.submit(orch.find_sub("seven")).result())
        7
        """

    def find_orch(self, name: str) -> OrchHandle:
        """
        The same for an orchestration function.

        >>> pod = ec.Worker(level=4)
        >>> _ = pod.add_worker(ec.Worker(level=3))
        >>> _ = pod.register_orch(lambda orch: orch.path, "where")
        >>> with pod:
        ...     pod.run(lambda orch: orch.submit(orch.find_orch("where")).result())
        'pod0/host0'
        """

    def find_chip(self, name: str) -> ChipHandle:
        """
        The same for a chip kernel.

        >>> source = '''#include <echelon/chip_kernel.h>
        ... ECHELON_KERNEL(nothing) {}'''
        >>> _ = host.register_chip("nothing", ec.ChipImage.from_source(source, "nothing"))
        >>> host.run(lambda orch: orch.submit(orch.find_chip("nothing")).wait())
        True
        """

    def sub_worker(self, i: int) -> WorkerId:
        """
        Sub-worker `i`. Raises InvalidArgument where there are not so many.

        >>> host.run(lambda orch: orch.sub_worker(1))
        WorkerId(1)
        """

    def chip(self, i: int) -> WorkerId:
        """
        Chip `i`. Raises InvalidArgument where there are not so many.

        >>> host.run(lambda orch: orch.chip(0))
        WorkerId(2)
        """

    def worker(self, i: int) -> WorkerId:
        """
        Next-level Worker `i`. Raises InvalidArgument where there are not so many.

        >>> pod = ec.Worker(level=4)
        >>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
        >>> with pod:
        ...     pod.run(lambda orch: orch.worker(0)) == below
        True
        """

    @property
    def sub_worker_count(self) -> int:
        """How many sub-workers this Worker has."""

    @property
    def chip_count(self) -> int:
        """How many chips this Worker has."""

    @property
    def worker_count(self) -> int:
        """How many Workers are directly below this one."""

    @property
    def level(self) -> int:
        """Of this Worker: 3 to 6."""

    @property
    def path(self) -> str:
        """Of this Worker: "pod0/host1"."""

    @property
    def config(self) -> CallConfig:
        """The config that this orchestration function was called with."""

    def __repr__(self) -> str: ...

class Run:
    """
    A run in flight, or ended: what Worker.submit(), copy_to_async() and
    copy_from_async() return.

    ``await run`` works in asyncio and gives result(); cancelling the awaiting task cancels the run.

    >>> with ec.Worker(level=3) as host:
    ...     run = host.submit(lambda orch: orch.path)
    ...     run.wait(timeout=10), run.result()
    (True, 'host0')
    """

    def wait(self, timeout: float | datetime.timedelta | None = None) -> bool:
        """
        Returns True when every task has ended, False after `timeout` seconds; raises the run's first error.

        >>> host.submit(lambda orch: None).wait(timeout=10)
        True
        """

    def done(self) -> bool:
        """
        Never blocks.

        >>> run = host.submit(lambda orch: None)
        >>> run.wait(), run.done()
        (True, True)
        """

    def cancel(self) -> None:
        """
        Queued tasks end at once, running ones are asked to. wait() then raises Cancelled.

        >>> def endless(task):
        ...     while not task.cancelled():
        ...         pass
        >>> h = host.register_sub(endless)
        >>> run = host.submit(lambda orch: orch.submit(h) and None)
        >>> run.cancel()
        >>> run.wait()
        Traceback (most recent call last):
        ...
        echelon._src.errors.Cancelled: ...
        """

    def result(self) -> Any:
        """
        Waits; then what the orchestration function returned.

        >>> host.submit(lambda orch: orch.path).result()
        'host0'
        """

    def __await__(self) -> Generator[Any, None, Any]: ...
    def __repr__(self) -> str: ...

class ChipImage:
    """A chip kernel and the code that holds it."""

    @staticmethod
    def from_file(path: str | os.PathLike[str], kernel: str) -> ChipImage:
        """
        The kernel of a shared object, which is read now. Raises InvalidArgument naming the file and, where only the name is wrong, the kernels it has.

        >>> ec.ChipImage.from_file("absent.so", "fill")
        Traceback (most recent call last):
        ...
        echelon._src.errors.InvalidArgument: ...absent.so...
        """

    @staticmethod
    def from_source(source: str, kernel: str, flags: Sequence[str] = ...) -> ChipImage:
        """
        C++ source, compiled now ($ECHELON_CXX, else c++, g++, clang++). Raises InvalidArgument with the compiler's own words.

        >>> source = '''#include <echelon/chip_kernel.h>
        ... ECHELON_KERNEL(nothing) {}
        ... '''
        >>> ec.ChipImage.from_source(source, "nothing")
        <ChipImage nothing>
        """

    def __repr__(self) -> str: ...

class ChipSpec:
    """
    A chip of this machine: the driver that knows it, and its number there.

    >>> ec.Worker(level=3, chips=[ec.ChipSpec("cpu", 0), "cpu:1"]).chip(1)
    WorkerId(1)
    """

    def __init__(self, driver: str = ..., device: int = ...) -> None: ...
    @property
    def driver(self) -> str:
        """
        A driver that this installation has: `python -m echelon doctor` lists them.
        """

    @driver.setter
    def driver(self, arg: str, /) -> None: ...
    @property
    def device(self) -> int:
        """0, 1, ... as the driver counts its devices."""

    @device.setter
    def device(self, arg: int, /) -> None: ...
    def __getstate__(self) -> tuple[str, int]: ...
    def __setstate__(self, state: tuple[str, int]) -> None: ...
    def __repr__(self) -> str: ...

class RemoteWorkerSpec:
    """
    A Worker on another host, for Worker.add_remote_worker().

    address: of the daemon there, `python -m echelon daemon --allow pickle`. Functions of Python run
    there with a copy of what they capture; C++ functions by name from a library (--allow library). What
    may be shipped is in tutorial-python.md; who trusts whom, in security.md.

    >>> spec = ec.RemoteWorkerSpec("127.0.0.1:7171", "host0", sub_workers=2, chips=1, lease=30)
    >>> spec
    <RemoteWorkerSpec host0, level 3, at 127.0.0.1:7171>
    >>> spec.chips, spec.lease, spec.stage, spec.runtime
    ([ChipSpec('cpu', 0)], 30.0, 'refuse', 'python')
    >>> below = ec.RemoteWorkerSpec("host1:7171", "host1")
    >>> ec.RemoteWorkerSpec("127.0.0.1:7171", "pod0", level=4, remote_workers=[below]).remote_workers
    [<RemoteWorkerSpec host1, level 3, at host1:7171>]
    """

    def __init__(
        self,
        address: str,
        name: str,
        *,
        level: int = 3,
        sub_workers: int = 0,
        chips: int | Sequence[str | ChipSpec] = 0,
        memory_bytes_max: int = 0,
        lane: str = "grpc",
        tls_dir: str | os.PathLike[str] = "",
        insecure: bool = False,
        connect_timeout: float | datetime.timedelta = 5.0,
        lease: float | datetime.timedelta = 10.0,
        health_deadline: float | datetime.timedelta = 2.0,
        unresponsive_after: float | datetime.timedelta = 10.0,
        trust_results: bool = False,
        stage: Literal["copy", "refuse"] = "refuse",
        runtime: Literal["python", "native"] = "python",
        direct_copies: bool = True,
        remote_workers: Sequence[RemoteWorkerSpec] = (),
    ) -> None:
        """
        Checked by Worker.add_remote_worker(); here only types, chips, stage, runtime and times, which are seconds.
        """

    @property
    def address(self) -> str:
        """Of the daemon: "host:port", "[v6]:port" or "unix:/path"."""

    @address.setter
    def address(self, arg: str, /) -> None: ...
    @property
    def name(self) -> str:
        """Unique among the children of its parent."""

    @name.setter
    def name(self, arg: str, /) -> None: ...
    @property
    def level(self) -> int:
        """Below its parent's; 3 is a host."""

    @level.setter
    def level(self, arg: int, /) -> None: ...
    @property
    def sub_workers(self) -> int:
        """0 to 256, on the other host."""

    @sub_workers.setter
    def sub_workers(self, arg: int, /) -> None: ...
    @property
    def chips(self) -> list[ChipSpec]:
        """Of the other host; level 3 alone. Set as Worker() takes them."""

    @chips.setter
    def chips(self, given: int | Sequence[str | ChipSpec], /) -> None: ...
    @property
    def remote_workers(self) -> list[RemoteWorkerSpec]:
        """
        Workers on further hosts, below this one of level 4 or more, which its session starts: their addresses are as its host sees them, and their keys that host's, so that they have no tls_dir. In its orchestration functions they come after its sub-workers.
        """

    @remote_workers.setter
    def remote_workers(self, given: Sequence[RemoteWorkerSpec], /) -> None: ...
    @property
    def memory_bytes_max(self) -> int:
        """
        Of tensors in the remote Worker's memory; 0: as much as its daemon gives.
        """

    @memory_bytes_max.setter
    def memory_bytes_max(self, arg: int, /) -> None: ...
    @property
    def lane(self) -> str:
        """What carries tasks and tensors: "grpc". "auto" chooses."""

    @lane.setter
    def lane(self, arg: str, /) -> None: ...
    @property
    def tls_dir(self) -> str:
        """
        A folder with ca.pem, host.pem and host.key, as `echelon keys` makes them: both ends show a certificate and check the other's.
        """

    @tls_dir.setter
    def tls_dir(self, given: str | os.PathLike[str], /) -> None: ...
    @property
    def insecure(self) -> bool:
        """
        Plain text to an address that is neither loopback nor a unix socket: whoever can reach the network reads and changes everything. Without this it is refused.
        """

    @insecure.setter
    def insecure(self, arg: bool, /) -> None: ...
    @property
    def trust_results(self) -> bool:
        """
        What this session returns, and raises, is unpickled here: code of its choice then runs here. Without it results are plain data.
        """

    @trust_results.setter
    def trust_results(self, arg: bool, /) -> None: ...
    @property
    def direct_copies(self) -> bool:
        """
        Copies between this Worker's tensors and those of another remote one go from host to host: the two sessions connect to each other, with certificates as everything else, where they listen for this program. False: they go by way of this host.
        """

    @direct_copies.setter
    def direct_copies(self, arg: bool, /) -> None: ...
    @property
    def stage(self) -> Literal["copy", "refuse"]:
        """
        What becomes of this host's tensors that are given to this Worker's tasks, where Orchestrator.submit() is not told.
        """

    @stage.setter
    def stage(self, given: Literal["copy", "refuse"], /) -> None: ...
    @property
    def runtime(self) -> Literal["python", "native"]:
        """
        "python": functions of Python run there, too; the daemon needs a Python (`python -m echelon daemon`) and has to allow pickles, or the modules of import paths. "native": C++ functions alone, in processes without Python, which start faster.
        """

    @runtime.setter
    def runtime(self, given: Literal["python", "native"], /) -> None: ...
    @property
    def connect_timeout(self) -> float:
        """Seconds to reach the daemon, and then the session, each."""

    @connect_timeout.setter
    def connect_timeout(self, given: float | datetime.timedelta, /) -> None: ...
    @property
    def lease(self) -> float:
        """
        Seconds; a session that hears nothing from its parent for so long ends itself and all below it.
        """

    @lease.setter
    def lease(self, given: float | datetime.timedelta, /) -> None: ...
    @property
    def health_deadline(self) -> float:
        """
        Seconds; a session that is silent for so long is taken for lost: its tasks fail. 0.1 to `lease`.
        """

    @health_deadline.setter
    def health_deadline(self, given: float | datetime.timedelta, /) -> None: ...
    @property
    def unresponsive_after(self) -> float:
        """Seconds; as Worker's, for the remote Worker's own children."""

    @unresponsive_after.setter
    def unresponsive_after(self, given: float | datetime.timedelta, /) -> None: ...
    def __repr__(self) -> str: ...

class Worker:
    """
    A node of the tree: made, given children and callables, started, used, closed.

    level: 2 a chip alone, 3 a host, 4 a pod, 5 a super-node, 6 a cluster. sub_workers: 0 to 256
    processes that run Python functions. chips: a number of cpu chips, or a list of "driver:device".
    ``with ec.Worker(level=3, sub_workers=2) as host:`` starts and closes it. In the examples of all
    methods, `host` is ``ec.Worker(level=3, sub_workers=2, chips=1)``, started.

    >>> pod = ec.Worker(level=4)
    >>> pod.add_worker(ec.Worker(level=3, name="host0", sub_workers=1))
    WorkerId(0)
    >>> where = pod.register_sub(lambda task: task.path)
    >>> each = pod.register_orch(lambda orch: orch.submit(where).result())
    >>> with pod:
    ...     pod.run(lambda orch: orch.submit(each).result())
    'pod0/host0/sub0'
    """

    def __init__(
        self,
        level: int = 3,
        *,
        name: str = "",
        sub_workers: int = 0,
        chips: int | Sequence[str | ChipSpec] = 0,
        start_deadline: float | datetime.timedelta = 30.0,
        unresponsive_after: float | datetime.timedelta = 10.0,
        memory_bytes_max: int = 0,
    ) -> None:
        """
        Raises InvalidArgument: level not in 2..6, chips where none belong, too many children.
        """

    def start(self) -> None:
        """
        Starts the tree below this Worker. Raises StartFailed with the message of the child that failed, WrongState when started or when a child.

        >>> host = ec.Worker(level=3, sub_workers=1)
        >>> host.start()
        >>> host.started
        True
        >>> host.close()
        """

    def close(self) -> None:
        """
        Ends the tree: asks, then kills; at most 5 s. Idempotent. start() starts it again.

        >>> host = ec.Worker(level=3, sub_workers=1)
        >>> host.start()
        >>> host.close()
        >>> host
        <Worker host0, level 3, closed>
        """

    @property
    def started(self) -> bool:
        """
        True between start() and close(), also when children have died meanwhile.
        """

    def __enter__(self) -> Worker: ...
    def __exit__(self, *raised: object) -> None: ...
    def add_worker(self, child: Worker) -> WorkerId:
        """
        Puts `child`, unstarted and of a lower level (at least 3), below this Worker.

        >>> pod = ec.Worker(level=4)
        >>> pod.add_worker(ec.Worker(level=3, name="host0", sub_workers=1))
        WorkerId(0)
        """

    def __reduce__(self) -> Any: ...
    def register_sub(
        self,
        function: Callable[[Task], Any] | str,
        name: str | None = None,
        *,
        timeout: float | datetime.timedelta = 30.0,
    ) -> SubHandle:
        """
        Registers a function(task) that runs in sub-workers.

        Before start(): children inherit it with all it captures, as it is at start(). In a running tree it
        is pickled with a copy of what it captures and sent to every process that may need it; this returns
        when all have it. "package.module:function" sends only the name; a text without a colon is the name
        that C++ gave it (ECHELON_SUB). The same function again gives the same handle. A name that you give
        is unique in a Worker. timeout: seconds.

        Raises CannotShip (a TypeError) naming what is captured and cannot be sent, RegistrationFailed with
        one entry a process, InvalidArgument where nobody can run it.

        >>> scale = host.register_sub(lambda task: task.scalars[0] * 2, name="scale")
        >>> scale
        <SubHandle scale>
        >>> host.register_sub("os:getpid")  # by import path: only the name is sent
        <SubHandle os:getpid>
        """

    def register_orch(
        self,
        function: Callable[..., Any] | str,
        name: str | None = None,
        *,
        timeout: float | datetime.timedelta = 30.0,
    ) -> OrchHandle:
        """
        Registers an orchestration function, (orch), (orch, args) or (orch, args, config), as register_sub() does.

        >>> pod = ec.Worker(level=4)
        >>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
        >>> each = pod.register_orch(lambda orch: orch.path)
        >>> with pod:
        ...     pod.run(lambda orch: orch.submit(each).result())
        'pod0/host0'
        """

    def register_chip(
        self, name: str, image: ChipImage, *, timeout: float | datetime.timedelta = 30.0
    ) -> ChipHandle:
        """
        Registers a chip kernel; it is loaded into every chip of the subtree, also while the tree runs.

        >>> source = '''#include <echelon/chip_kernel.h>
        ... ECHELON_KERNEL(fill) {
        ...   for (auto& value : echelon::kernel::values<float>(args, context, 0)) value = 7;
        ... }'''
        >>> fill = host.register_chip("fill", ec.ChipImage.from_source(source, "fill"))
        >>> x = host.tensor((2,), np.float32)
        >>> host.run(lambda orch: orch.submit(fill, ec.Args().output(x)).wait())
        True
        >>> x.array()
        array([7., 7.], dtype=float32)
        """

    def register_library(
        self, path: str | os.PathLike[str], *, timeout: float | datetime.timedelta = 30.0
    ) -> LibraryHandle:
        """
        Loads a shared object into every process of the running subtree that runs functions; its C++ functions can then be registered by name.

        >>> host.register_library("absent.so")
        Traceback (most recent call last):
        ...
        echelon._src.errors.InvalidArgument: ...absent.so cannot be read
        """

    def unregister(self, handle: SubHandle | OrchHandle | ChipHandle | LibraryHandle) -> None:
        """
        Takes back one registration that was made in the running tree; with the last the handle is refused. Tasks that were submitted finish. Raises StaleHandle where it was unregistered already, InvalidArgument for one of another Worker or from before start().

        >>> seven = host.register_sub(lambda task: 7)
        >>> host.unregister(seven)
        >>> host.run(lambda orch: orch.submit(seven))
        Traceback (most recent call last):
        ...
        echelon._src.errors.StaleHandle: ...
        """

    def tensor(self, data: Any, dtype: Any = None) -> Tensor:
        """
        A tensor in this Worker's shared memory, also before start().

        data: an array (NumPy's, or with __dlpack__), whose values are copied; or a shape, an int or a tuple
        of ints, with `dtype`: zeros. Raises TypeError for objects, ValueError for another byte order,
        ResourceExhausted.

        >>> host.tensor(np.arange(3)).array()
        array([0, 1, 2])
        >>> host.tensor((2, 2), np.float32).nbytes
        16
        """

    def chip_tensor(self, chip: int, shape: int | tuple[int, ...], dtype: Any) -> Tensor:
        """
        A tensor in the memory of chip number `chip` (level 2 or 3, started); zeroed.

        >>> host.chip_tensor(0, (2, 3), np.float32).shape
        (2, 3)
        """

    def add_remote_worker(self, spec: RemoteWorkerSpec) -> WorkerId:
        """
        Has start() make a Worker on another host, below this one (level 4 or more). Ids count together with add_worker()'s. Raises InvalidArgument or WrongState saying what of `spec` is not possible.

        >>> pod = ec.Worker(level=4)
        >>> pod.add_remote_worker(ec.RemoteWorkerSpec("127.0.0.1:7171", "host0", sub_workers=1))
        WorkerId(0)
        """

    def remote_tensor(self, worker: WorkerId, shape: int | tuple[int, ...], dtype: Any) -> Tensor:
        """
        A tensor in the memory of the remote Worker `worker` of this one; zeroed.

        Given back when the last handle is gone and the last task that uses it has ended. Starts the tree if
        need be. Raises InvalidArgument where `worker` is not remote, ResourceExhausted where its memory is
        full, ChildLost. In the example `address` is that of a daemon.

        >>> pod = ec.Worker(level=4)
        >>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
        >>> with pod:
        ...     pod.remote_tensor(far, (2, 3), np.float32).nbytes
        24
        """

    def copy_to(self, tensor: Tensor, values: Any, offset: int = 0) -> None:
        """
        Copies `values` into a contiguous tensor of a remote Worker, and waits for it.

        values: an array of the tensor's dtype (not converted), or a number or list. They go in row by row,
        from element `offset` on; ordered like a task that writes those elements. Raises InvalidArgument
        beyond the tensor's end or for another dtype, StaleHandle, and what a failed task raises. Ctrl-C
        cancels it; the elements are then undefined. In the example `address` is that of a daemon.

        >>> pod = ec.Worker(level=4)
        >>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
        >>> with pod:
        ...     x = pod.remote_tensor(far, 4, np.float32)
        ...     pod.copy_to(x, np.arange(4, dtype=np.float32))
        ...     pod.copy_to(x, [7, 8], offset=1)
        ...     pod.copy_from(x)
        array([0., 7., 8., 3.], dtype=float32)
        """

    def copy_from(
        self, tensor: Tensor, offset: int = 0, count: int | None = None
    ) -> numpy.typing.NDArray[Any]:
        """
        The elements of a contiguous tensor of a remote Worker, as a NumPy array here.

        All of them in the tensor's shape; with `offset` or `count` that many from element `offset` on, row
        by row, in one dimension. Ordered like a task that reads them, and waited for. The array is of this
        Worker's shared memory, which is given back with it. Raises as copy_to(). In the example `address`
        is that of a daemon.

        >>> pod = ec.Worker(level=4)
        >>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
        >>> with pod:
        ...     x = pod.remote_tensor(far, (2, 2), np.int64)
        ...     pod.copy_to(x, [[1, 2], [3, 4]])
        ...     pod.copy_from(x), pod.copy_from(x, offset=1, count=2)
        (array([[1, 2],
               [3, 4]]), array([2, 3]))
        """

    def copy_to_async(self, tensor: Tensor, values: Any, offset: int = 0) -> Run:
        """
        copy_to() that is not waited for: its Run ends when the elements are there.

        An array is read where it lies: do not write to it before the run has ended. The run keeps it, also
        where nobody keeps the run. Refuses at once what copy_to() refuses; wait(), done(), cancel() and
        ``await`` are those of every Run. In the example `address` is that of a daemon.

        >>> pod = ec.Worker(level=4)
        >>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
        >>> with pod:
        ...     x = pod.remote_tensor(far, 4, np.float32)
        ...     there = pod.copy_to_async(x, np.arange(4, dtype=np.float32))
        ...     back = pod.copy_from_async(x, offset=2)  # ordered behind it
        ...     there.wait(timeout=10), back.result()
        (True, array([2., 3.], dtype=float32))
        """

    def copy_from_async(self, tensor: Tensor, offset: int = 0, count: int | None = None) -> Run:
        """
        copy_from() that is not waited for: result(), and ``await``, give the array.

        In the example `address` is that of a daemon.

        >>> import asyncio
        >>> pod = ec.Worker(level=4)
        >>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
        >>> async def first(x):
        ...     return await pod.copy_from_async(x, count=1)
        >>> with pod:
        ...     asyncio.run(first(pod.remote_tensor(far, 3, np.int64)))
        array([0])
        """

    def run(
        self,
        function: Callable[[Orchestrator], T],
        *,
        deadline: float | datetime.timedelta | None = None,
        config: CallConfig | None = None,
    ) -> T:
        """
        Calls function(orch), waits for all that it submitted, and returns what it returned.

        Starts the tree if need be. deadline: seconds. What the function itself raises comes out unchanged;
        a task's error as TaskFailed and its kin. Ctrl-C cancels the run; the Worker stays usable.

        >>> host.run(lambda orch: (orch.path, orch.sub_worker_count))
        ('host0', 2)
        """

    def submit(
        self,
        function: Callable[[Orchestrator], Any],
        *,
        deadline: float | datetime.timedelta | None = None,
        config: CallConfig | None = None,
    ) -> Run:
        """
        Calls function(orch) now; its tasks may still be running when this returns. What the function raises becomes the run's error.

        >>> run = host.submit(lambda orch: orch.path)
        >>> run.result()
        'host0'
        """

    def tree(self) -> NodeInfo:
        """
        The tree as it stands, with counters. Asks every level; at most 1 s.

        >>> [child.path for child in host.tree().children]
        ['host0/sub0', 'host0/sub1', 'host0/chip0']
        """

    def describe(self) -> str:
        """
        tree() as text, a line a node.

        >>> len(host.describe().splitlines())
        4
        """

    @property
    def level(self) -> int:
        """2 to 6, as it was made."""

    @property
    def name(self) -> str:
        """As it was made, or by level: "host0"."""

    @property
    def path(self) -> str:
        """ "pod0/host1", as far as parents are known."""

    def sub_worker(self, i: int) -> WorkerId:
        """
        Sub-worker `i`. Raises InvalidArgument where there are not so many.

        >>> host.sub_worker(1)
        WorkerId(1)
        """

    def chip(self, i: int) -> WorkerId:
        """
        Chip `i`. Raises InvalidArgument where there are not so many.

        >>> host.chip(0)
        WorkerId(2)
        """

    def __repr__(self) -> str: ...

class _Report:
    """The figures of one benchmark."""

    def __init__(self, name: str, title: str, quick: bool) -> None: ...
    def add(
        self,
        key: str,
        what: str,
        unit: str,
        value: float | None,
        *,
        at_most: float | None = ...,
        at_least: float | None = ...,
    ) -> None:
        """A figure in ns, us, ms, x or /s, and its target. None: not measured."""

    def add_floor(self, floor: _FloorMeter) -> None:
        """The first figure of every report."""

    def note(self, text: str) -> None: ...
    def text(self) -> str: ...
    def markdown(self) -> str: ...
    def json(self, with_machine: bool = ...) -> str: ...

class _FloorMeter:
    """What this machine can do at best. Forks: make it before any Worker."""

    def __init__(self) -> None: ...
    def round(self, samples: int = ...) -> None: ...
    def p50(self) -> float:
        """Of all samples so far, in nanoseconds."""

class _Progress:
    """One line on a terminal that says what goes on."""

    def __init__(self) -> None: ...
    def say(self, text: str) -> None: ...
    def clear(self) -> None: ...

def _machine_text() -> str: ...
def _percentile(samples: Sequence[float], percent: float) -> float: ...
def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the line through these points, by least squares."""

def _register_empty(worker: Worker, name: str) -> SubHandle:
    """Registers a C++ function that does nothing."""

def _run_session(arguments: list[str]) -> None:
    """What echelon._src.runner does. Does not return."""
