# SPDX-License-Identifier: Apache-2.0
"""Tensors: memory that NumPy and the tree share, and for how long."""

from __future__ import annotations

import gc
import hashlib
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import echelon as ec

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip


def double(task: ec.Task) -> None:
    x, y = task.arrays()
    np.add(x, x, out=y)


def write_input(task: ec.Task) -> None:
    task.array(0)[0] = 1


def flags(task: ec.Task) -> Any:
    return [(a.flags.writeable, a.dtype.name, a.shape, a.strides) for a in task.arrays()]


kept: list[Any] = []


def keep(task: ec.Task) -> None:
    kept.append(task.array(0))


def keep_in_a_cycle(task: ec.Task) -> None:
    cycle: list[Any] = [task.array(0)]
    cycle.append(cycle)


def keep_task(task: ec.Task) -> None:
    kept.append(task)


def use_kept_task(task: ec.Task) -> str:
    assert kept[-1] is not task
    try:
        return repr(kept[-1].scalars)
    except ec.WrongState as error:
        return error.message


def scalars(task: ec.Task) -> Any:
    return task.scalars


@pytest.mark.parametrize(
    "shape",
    [np.prod((2, 4)), np.int32(8), (np.int64(8),), 8],
    ids=["prod", "int32", "tuple", "int"],
)
def test_an_integer_of_numpy_is_a_shape(shape: Any) -> None:
    made = ec.Worker(level=3).tensor(shape, np.float32)
    np.testing.assert_array_equal(made.array(), np.zeros(8))


def test_arrays_in_a_tuple_and_of_rank_0_are_values() -> None:
    worker = ec.Worker(level=3)
    both = worker.tensor((np.arange(2), np.arange(2)), np.float32)
    assert both.array().tolist() == [[0, 1], [0, 1]]
    assert worker.tensor(np.array(8), np.float32).array().tolist() == 8


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (300, np.int8, "300 does not fit int8, which holds -128 to 127"),
        (-1, np.uint64, "-1 does not fit uint64"),
        (2**70, np.int64, "does not fit int64"),
        (np.float64(300.0), np.uint8, "does not fit uint8"),
        (2, np.bool_, "2 does not fit bool, which holds 0 to 1"),
        (1.5, np.int32, "1.5 is not a whole number"),
        (float("nan"), np.int32, "nan is not a whole number"),
        (1e30, np.float16, "beyond what float16 holds"),
        (2**2000, np.float64, "beyond what float64 holds"),
    ],
)
def test_a_scalar_that_its_dtype_cannot_hold_is_refused(value: Any, dtype: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ec.Args().scalar(value, dtype)


@pytest.mark.parametrize("value", ["3", 1j, [1, 2]])
def test_a_scalar_that_is_no_number_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="one number was expected for float32"):
        ec.Args().scalar(value, np.float32)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ec.Worker, dict[str, ec.SubHandle]]]:
    worker = ec.Worker(level=3, sub_workers=1)
    functions = (
        double, write_input, flags, keep, keep_in_a_cycle, keep_task, use_kept_task, scalars,
    )  # fmt: skip
    handles = {f.__name__: worker.register_sub(f) for f in functions}
    with worker:
        yield worker, handles


@pytest.fixture()
def host(shared: tuple[ec.Worker, dict[str, ec.SubHandle]]) -> ec.Worker:
    return shared[0]


@pytest.fixture()
def call(shared: tuple[ec.Worker, dict[str, ec.SubHandle]]) -> Any:
    worker, handles = shared
    return lambda name, args: worker.run(lambda orch: orch.submit(handles[name], args).result())


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_of_each_dtype_come_back(host: ec.Worker, dtype: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    tensor = host.tensor(values)
    assert tensor.dtype == values.dtype
    np.testing.assert_array_equal(tensor.array(), values)


def test_a_tensor_made_by_shape_is_zeros(host: ec.Worker) -> None:
    tensor = host.tensor((2, 3), np.int32)
    assert (tensor.shape, tensor.ndim, tensor.size, tensor.nbytes) == ((2, 3), 2, 6, 24)
    assert not tensor.array().any()


def test_a_shape_may_be_an_int(host: ec.Worker) -> None:
    assert host.tensor(5, "float64").shape == (5,)


def test_a_shape_without_dtype_is_refused(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="a shape needs a dtype"):
        host.tensor((4,))


def test_a_list_is_data(host: ec.Worker) -> None:
    np.testing.assert_array_equal(host.tensor([1.5, 2.5]).array(), [1.5, 2.5])


def test_a_scalar_array_keeps_its_rank(host: ec.Worker) -> None:
    tensor = host.tensor(np.float32(3))
    assert tensor.shape == ()
    assert tensor.array()[()] == 3


def test_data_in_any_order_of_strides_is_copied(host: ec.Worker) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(host.tensor(values.T).array(), values.T)
    np.testing.assert_array_equal(host.tensor(values[:, ::2]).array(), values[:, ::2])


def test_an_object_array_is_refused(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="objects"):
        host.tensor(np.array([{}], dtype=object))


def test_a_wrong_byte_order_is_refused_with_what_to_do(host: ec.Worker) -> None:
    with pytest.raises(ValueError, match="newbyteorder"):
        host.tensor(np.arange(3, dtype=">i4"))


def test_a_dtype_that_tensors_do_not_have_is_refused(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="complex128"):
        host.tensor(np.zeros(2, complex))


def test_an_array_is_no_copy(host: ec.Worker) -> None:
    tensor = host.tensor((3,), np.int64)
    tensor.array()[1] = 7
    assert tensor.array()[1] == 7
    assert np.shares_memory(tensor.array(), tensor.array())


def test_numpy_sees_a_tensor_through_the_buffer_protocol(host: ec.Worker) -> None:
    tensor = host.tensor(np.arange(6, dtype=np.int16).reshape(2, 3))
    assert memoryview(tensor).shape == (2, 3)
    assert np.shares_memory(np.asarray(tensor), tensor.array())


def test_numpy_takes_a_tensor_by_dlpack_without_a_copy(host: ec.Worker) -> None:
    tensor = host.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    array = np.from_dlpack(tensor)
    np.testing.assert_array_equal(array, tensor.array())
    assert np.shares_memory(array, tensor.array())


def test_a_tensor_is_made_from_what_has_dlpack_alone(host: ec.Worker) -> None:
    class Foreign:
        def __init__(self) -> None:
            self.array = np.arange(4, dtype=np.int32)

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    np.testing.assert_array_equal(host.tensor(Foreign()).array(), [0, 1, 2, 3])


def test_torch_and_a_tensor_share_memory(host: ec.Worker) -> None:
    torch = pytest.importorskip("torch")
    tensor = host.tensor(np.arange(4, dtype=np.float32))
    seen = torch.from_dlpack(tensor)
    seen += 1
    np.testing.assert_array_equal(tensor.array(), [1, 2, 3, 4])
    np.testing.assert_array_equal(host.tensor(seen).array(), [1, 2, 3, 4])


def test_bfloat16_goes_both_ways(host: ec.Worker, call: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = host.tensor(np.array([1.5, -2], dtype=ml_dtypes.bfloat16))
    y = host.tensor((2,), ml_dtypes.bfloat16)
    call("double", ec.Args().input(x).output(y))
    assert y.array().dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(y.array().astype(np.float32), [3, -4])


def test_inputs_are_read_only_and_outputs_are_not(host: ec.Worker, call: Any) -> None:
    x, y = host.tensor((2, 3), np.float32), host.tensor((4,), np.int8)
    assert call("flags", ec.Args().input(x).output(y)) == [
        (False, "float32", (2, 3), (12, 4)),
        (True, "int8", (4,), (1,)),
    ]


def test_writing_an_input_raises_in_the_task(host: ec.Worker, call: Any) -> None:
    with pytest.raises(ec.TaskFailed, match="read-only"):
        call("write_input", ec.Args().input(host.tensor((2,), np.int8)))


def test_a_slice_is_a_view_with_strides(host: ec.Worker, call: Any) -> None:
    whole = host.tensor(np.arange(12, dtype=np.int32).reshape(3, 4))
    part = whole[:, 1:3]
    assert part.shape == (3, 2)
    out = host.tensor((3, 2), np.int32)
    call("double", ec.Args().input(part).output(out))
    np.testing.assert_array_equal(out.array(), 2 * whole.array()[:, 1:3])


def test_a_slice_by_number_or_step_is_refused(host: ec.Worker) -> None:
    tensor = host.tensor((4,), np.int8)
    with pytest.raises(TypeError, match="slices"):
        tensor[0]  # type: ignore[index]
    with pytest.raises(IndexError, match="step 1"):
        tensor[::2]
    with pytest.raises(IndexError, match="rank 1"):
        tensor[:, :]


def test_reshaping_what_is_not_contiguous_is_refused(host: ec.Worker) -> None:
    tensor = host.tensor((4, 4), np.int8)
    assert tensor.reshape(2, 8).shape == tensor.reshape((2, 8)).shape == (2, 8)
    with pytest.raises(ec.InvalidArgument, match="contiguous"):
        tensor[:, 0:2].reshape(8)


def test_a_plain_buffer_of_what_is_not_contiguous_is_refused(host: ec.Worker) -> None:
    part = host.tensor((4, 4), np.int8)[:, 0:2]
    with pytest.raises(BufferError, match="not contiguous"):
        hashlib.sha256(part)


def test_an_array_outlives_its_tensor(host: ec.Worker) -> None:
    array = host.tensor(np.arange(1000)).array()
    gc.collect()
    again = [host.tensor(np.zeros(1000, np.int64)) for _ in range(8)]
    np.testing.assert_array_equal(array, np.arange(1000))
    del again


def test_an_array_outlives_its_worker() -> None:
    worker = ec.Worker(level=3, sub_workers=1)
    array = worker.tensor(np.arange(10)).array()
    worker.close()
    del worker
    gc.collect()
    np.testing.assert_array_equal(array, np.arange(10))


def test_freeing_is_refused_while_arrays_live(host: ec.Worker) -> None:
    tensor = host.tensor((4,), np.int8)
    array = tensor[1:3].array()
    with pytest.raises(ec.WrongState, match=r"1 array\(s\)"):
        tensor.free()
    del array
    tensor.free()
    with pytest.raises(ec.StaleHandle):
        tensor.array()


def test_a_freed_tensor_cannot_be_submitted(host: ec.Worker, call: Any) -> None:
    tensor = host.tensor((4,), np.int8)
    tensor.free()
    with pytest.raises(ec.StaleHandle):
        call("flags", ec.Args().input(tensor))


def test_a_task_that_keeps_an_array_fails(host: ec.Worker, call: Any) -> None:
    with pytest.raises(ec.WrongState, match="keep a copy"):
        call("keep", ec.Args().input(host.tensor((4,), np.int8)))


def keep_and_raise(task: ec.Task) -> None:
    kept.append(task.array(0))
    raise ValueError("its own words")


def write_kept(task: ec.Task) -> Any:
    seen = kept[-1].tolist()
    kept[-1][:] = 77
    return seen, task.array(0).tolist()


def keep_in_a_host(orch: ec.Orchestrator, args: ec.TaskArgs) -> None:
    kept.extend([args.array(0), args.handle(0).array()])


def keep_in_a_host_and_raise(orch: ec.Orchestrator, args: ec.TaskArgs) -> None:
    keep_in_a_host(orch, args)
    raise ValueError("its own words")


def write_kept_in_a_host(orch: ec.Orchestrator, args: ec.TaskArgs) -> Any:
    seen = [array.tolist() for array in kept]
    for array in kept:
        array[:] = 77
    return seen, args.array(0).tolist()


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (keep, ec.WrongState, "1 array.s. of its arguments are still kept"),
        (keep_and_raise, ec.TaskFailed, "its own words; besides, .* 1 array.s. .* still kept"),
    ],
)
def test_an_array_kept_beyond_its_task_reaches_no_tensor(
    function: Any, kind: type[ec.Error], words: str
) -> None:
    worker = ec.Worker(level=3, sub_workers=1)
    keeps, writes = worker.register_sub(function), worker.register_sub(write_kept)
    with worker:
        tensor = worker.tensor(np.arange(1, 5))
        with pytest.raises(kind, match=words):
            worker.run(lambda orch: orch.submit(keeps, ec.Args().inout(tensor)))
        args = ec.Args().inout(tensor)
        seen = worker.run(lambda orch: orch.submit(writes, args).result())
        assert seen == ([0, 0, 0, 0], [1, 2, 3, 4])
        assert tensor.array().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("function", [keep_in_a_host, keep_in_a_host_and_raise])
def test_arrays_kept_in_a_next_level_worker_reach_no_tensor(function: Any) -> None:
    pod = ec.Worker(level=4)
    pod.add_worker(ec.Worker(level=3, sub_workers=1))
    keeps, writes = pod.register_orch(function), pod.register_orch(write_kept_in_a_host)
    with pod:
        tensor = pod.tensor(np.arange(1, 5))
        with pytest.raises(ec.Error, match="2 array.s. of its arguments are still kept"):
            pod.run(lambda orch: orch.submit(keeps, ec.Args().inout(tensor)))
        args = ec.Args().inout(tensor)
        seen = pod.run(lambda orch: orch.submit(writes, args).result())
        assert seen == ([[0, 0, 0, 0]] * 2, [1, 2, 3, 4])
        assert tensor.array().tolist() == [1, 2, 3, 4]


def test_a_freed_tensor_says_so_to_numpy(host: ec.Worker) -> None:
    tensor = host.tensor((4,), np.int8)
    tensor.free()
    with pytest.raises(ec.StaleHandle):
        np.asarray(tensor)


def test_a_chips_tensor_says_so_to_numpy() -> None:
    with ec.Worker(level=3, chips=1) as worker:
        tensor = worker.chip_tensor(0, (4,), np.int8)
        with pytest.raises(ec.InvalidArgument, match="chip"):
            np.asarray(tensor)


def test_numpy_asks_a_tensor_for_another_dtype_and_for_a_copy(host: ec.Worker) -> None:
    tensor = host.tensor(np.arange(3, dtype=np.int16))
    assert tensor.__array__(np.float32).tolist() == [0, 1, 2]
    view, copy = tensor.__array__(), tensor.__array__(copy=True)
    tensor.array()[0] = 9
    assert (view[0], copy[0]) == (9, 0)


def test_an_array_in_a_mere_cycle_is_not_kept(host: ec.Worker, call: Any) -> None:
    call("keep_in_a_cycle", ec.Args().input(host.tensor((4,), np.int8)))


def test_a_task_object_kept_beyond_its_task_says_so(host: ec.Worker, call: Any) -> None:
    call("keep_task", ec.Args())
    assert "has ended" in call("use_kept_task", ec.Args())


def test_scalars_keep_their_kinds(host: ec.Worker, call: Any) -> None:
    args = ec.Args().scalar(True).scalar(-3).scalar(0.5).scalar(np.uint8(200))
    assert call("scalars", args) == (True, -3, 0.5, 200)


def test_a_scalar_may_be_given_a_dtype(host: ec.Worker, call: Any) -> None:
    args = ec.Args().scalar(1.1, np.float32).scalar(2, "int8").scalar(1.5, np.float16)
    assert call("scalars", args) == (float(np.float32(1.1)), 2, 1.5)


def test_a_bfloat16_scalar_arrives(host: ec.Worker, call: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert call("scalars", ec.Args().scalar(ml_dtypes.bfloat16(-2.5))) == (-2.5,)


def test_an_int_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        ec.Args().scalar(1 << 70)


@pytest.mark.parametrize("value", [3, 3.0, True, np.int64(3), np.float16(3)])
def test_a_scalar_is_converted_to_what_can_hold_it(value: Any) -> None:
    args = ec.Args()
    for dtype in ("int8", "uint64", "float16", "float64"):
        args.scalar(value, dtype)
    assert repr(args) == "<Args: 0 tensors, 4 scalars>"


def test_an_array_is_no_scalar() -> None:
    with pytest.raises(TypeError, match="one number"):
        ec.Args().scalar(np.zeros(3))


def test_a_tensor_cannot_be_pickled(host: ec.Worker) -> None:
    with pytest.raises(TypeError, match="a Tensor cannot be pickled"):
        pickle.dumps(host.tensor((1,), np.int8))


def test_submit_allocates_outputs(host: ec.Worker, shared: Any) -> None:
    x = host.tensor(np.arange(4, dtype=np.int32))

    def function(orch: ec.Orchestrator) -> Any:
        task = orch.submit(shared[1]["double"], ec.Args().input(x).output((4,), np.int32))
        task.wait()
        return task.output(0).array().copy()

    np.testing.assert_array_equal(host.run(function), [0, 2, 4, 6])


def test_a_tensors_repr_tells(host: ec.Worker) -> None:
    assert repr(host.tensor((2, 3), np.float32)) == "<Tensor float32[2, 3] of host0, host memory>"
