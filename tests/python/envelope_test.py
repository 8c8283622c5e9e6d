# SPDX-License-Identifier: Apache-2.0
"""The envelope of shipped callables, and what may not be in it."""

from __future__ import annotations

import contextvars
import ctypes
import functools
import hashlib
import io
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

import echelon as ec
from echelon._src import envelope, shipping
from echelon._src.captures import CannotShip

HEADER = struct.Struct("<4sHBBQ32s")


def sealed(payload: bytes = b"payload") -> bytearray:
    return bytearray(envelope.seal(lambda file: file.write(payload)))


def changed(**fields: Any) -> bytearray:
    whole = sealed()
    names = ("magic", "version", "serializer", "flags", "size", "digest")
    values = dict(zip(names, HEADER.unpack_from(whole)))
    values.update(fields)
    HEADER.pack_into(whole, 0, *values.values())
    return whole


def ship(function: Callable[..., Any], in_tree: bool = True) -> memoryview:
    return shipping.pickle_function(function, "scale", lambda handle: in_tree)


def test_what_was_sealed_is_opened() -> None:
    assert bytes(envelope.open_sealed(sealed(b"abc"))) == b"abc"


def test_its_bytes_are_as_documented() -> None:
    expected = b"EcPy" + b"\1\0" + b"\1" + b"\0" + b"\3" + bytes(7)
    assert bytes(sealed(b"abc")) == expected + hashlib.sha256(b"abc").digest() + b"abc"


def test_bytes_behind_it_are_accepted() -> None:
    assert bytes(envelope.open_sealed(sealed(b"abc") + b"more")) == b"abc"


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (changed(magic=b"PyEc"), "begins with"),
        (changed(version=2), "version 2"),
        (changed(serializer=9), "serializer 9"),
        (changed(flags=1), "flags 0x1"),
        (changed(size=8), "8 bytes was announced and 7 came"),
        (changed(size=1 << 63), "announced"),
        (changed(size=6), "SHA-256 differs"),
        (changed(digest=bytes(32)), "SHA-256 differs"),
        (sealed()[:47], "47 bytes"),
        (bytearray(), "0 bytes"),
    ],
)
def test_a_wrong_envelope_is_refused_in_words(whole: bytearray, words: str) -> None:
    with pytest.raises(envelope.EnvelopeError, match=words):
        envelope.open_sealed(whole)


def test_the_digest_of_what_nobody_can_change_is_not_taken_again() -> None:
    assert bytes(envelope.open_sealed(changed(digest=bytes(32)), immutable=True)) == b"payload"


def test_what_nobody_can_change_is_checked_in_all_else() -> None:
    with pytest.raises(envelope.EnvelopeError, match="version 2"):
        envelope.open_sealed(changed(version=2), immutable=True)


def test_a_changed_payload_is_never_unpickled() -> None:
    whole = bytearray(ship(lambda task: None))
    whole[-1] ^= 1
    with pytest.raises(envelope.EnvelopeError, match="SHA-256"):
        shipping.load_pickle("scale", memoryview(whole))


def test_a_closure_comes_back_with_a_copy_of_what_it_captured() -> None:
    captured = [1, 2]
    loaded = shipping.load_pickle("scale", ship(lambda task: captured))
    captured.append(3)
    assert loaded(None) == [1, 2]


def test_what_is_no_callable_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        shipping.load_pickle("scale", envelope.seal(lambda file: file.write(b"\x80\x05K\x01.")))


class Holder:
    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __call__(self, task: Any) -> Any:
        return self.thing

    def method(self, task: Any) -> Any:
        return self.thing


lock = threading.Lock()


def uses_a_global(task: Any) -> Any:
    return lock


def closure_over(thing: Any) -> Callable[..., Any]:
    return lambda task: thing


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (threading.Lock(), "a threading.Lock cannot be shipped"),
        (threading.RLock(), "a threading.RLock cannot be shipped"),
        (threading.Event(), "a lock of threading cannot be shipped"),
        (memoryview(b"abc"), "a memoryview cannot be shipped"),
        (io.StringIO("text"), "an open file cannot be shipped"),
        (ctypes.pointer(ctypes.c_int(3)), "a ctypes pointer cannot be shipped"),
        (ctypes.c_void_p(1), "a ctypes pointer cannot be shipped"),
        (ec.Worker(level=3), "a Worker cannot be shipped"),
    ],
)
def test_what_cannot_be_shipped_is_named_with_its_path(thing: Any, words: str) -> None:
    with pytest.raises(CannotShip, match=f"scale.<closure>.thing: {words}"):
        ship(closure_over(thing))


class RaisesWhenPickled:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def test_what_pickle_itself_refuses_is_named_with_its_path() -> None:
    thing = Holder([contextvars.copy_context()])
    with pytest.raises(CannotShip, match=r"scale.<closure>.thing.thing\[0\]: .*Context"):
        ship(closure_over(thing))


@pytest.mark.parametrize("error", [ValueError("not this one"), SystemExit("not this one")])
def test_what_raises_when_pickled_is_named_with_its_path(error: BaseException) -> None:
    thing = {"a": RaisesWhenPickled(error)}
    with pytest.raises(CannotShip, match=r"thing\['a'\]: .*not this one") as raised:
        ship(closure_over(thing))
    assert raised.value.__cause__ is error


def test_a_socket_is_refused() -> None:
    with socket.socket() as thing, pytest.raises(CannotShip, match="thing: a socket cannot"):
        ship(closure_over(thing))


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as thing, pytest.raises(CannotShip, match="an open file"):
        ship(closure_over(thing))


def test_a_tensor_is_refused_with_what_to_do() -> None:
    tensor = ec.Worker(level=3).tensor((1,), "int8")
    with pytest.raises(CannotShip, match="thing: a Tensor cannot be shipped; give it to the task"):
        ship(closure_over(tensor))


def test_the_path_goes_through_containers_attributes_and_keys() -> None:
    inner = {"deep": [0, Holder((threading.Lock(),))]}
    with pytest.raises(CannotShip, match=r"thing\['deep'\]\[1\].thing\[0\]: a threading.Lock"):
        ship(closure_over(inner))


def test_an_object_that_can_be_called_is_looked_into() -> None:
    with pytest.raises(CannotShip, match="scale.thing: a threading.Lock"):
        ship(Holder(threading.Lock()))


def test_a_bound_method_is_looked_into() -> None:
    with pytest.raises(CannotShip, match="scale.<self>.thing: a threading.Lock"):
        ship(Holder(threading.Lock()).method)


def test_a_partial_is_looked_into() -> None:
    with pytest.raises(CannotShip, match=r"scale.args\[0\]: a threading.Lock"):
        ship(functools.partial(closure_over(1), threading.Lock()))


def test_a_default_is_looked_into() -> None:
    def function(task: Any, held: Any = threading.Lock()) -> Any:  # noqa: B008
        return held

    with pytest.raises(CannotShip, match=r"scale.<defaults>\[0\]: a threading.Lock"):
        ship(function)


def test_a_global_is_looked_into() -> None:
    namespace: dict[str, Any] = {"lock": lock, "__name__": "__main__"}
    exec("def function(task):\n    return lock\n", namespace)
    with pytest.raises(CannotShip, match="scale.<globals>.lock: a threading.Lock"):
        ship(namespace["function"])


def test_a_handle_of_another_tree_is_refused() -> None:
    handle = ec.Worker(level=3, sub_workers=1).register_sub(uses_a_global)
    with pytest.raises(CannotShip, match="handle of another tree"):
        ship(closure_over(handle), in_tree=False)


def test_a_handle_of_this_tree_is_shipped() -> None:
    handle = ec.Worker(level=3, sub_workers=1).register_sub(uses_a_global)
    assert shipping.load_pickle("scale", ship(closure_over(handle)))(None) == handle


def test_a_plain_int_is_not_taken_for_a_descriptor() -> None:
    assert shipping.load_pickle("scale", ship(closure_over(3)))(None) == 3


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("no colon", ValueError),
        ("os:", ValueError),
        ("no.such.module:f", ImportError),
        ("os:no_such_function", ImportError),
        ("os:sep", TypeError),
    ],
)
def test_an_import_path_that_leads_nowhere_is_refused(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        shipping.import_path(path)


def test_a_function_is_registered_by_its_import_path() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    handle = host.register_sub("os.path:basename")
    assert handle.name == "basename"
