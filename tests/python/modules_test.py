# SPDX-License-Identifier: Apache-2.0
"""What import paths and pickles may name in a session: the daemon's --modules."""

from __future__ import annotations

import collections
import enum
import functools
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from conftest import daemon

import echelon as ec
from echelon._src import modules, runner, shipping

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Colour(enum.Enum):
    RED = 1


class Base:
    @property
    def one(self) -> int:
        return 1

    @classmethod
    def two(cls) -> int:
        return 2


class Derived(Base):
    @staticmethod
    def three() -> int:
        return 3

    def __init__(self) -> None:
        super().__init__()
        self.four = 4


def counter() -> Any:
    count = 0

    def up() -> int:
        nonlocal count
        count += 1
        return count

    return up


def of_all_kinds(value: int = 5) -> list[Any]:
    made = Derived()
    return [Colour.RED.value, made.one, made.two(), made.three(), made.four, len("ab")]


@pytest.fixture()
def listed(request: pytest.FixtureRequest) -> Iterator[None]:
    modules.allow(getattr(request, "param", ()))
    yield
    modules.allow(None)


def shipped(function: Any) -> Any:
    return shipping.load_pickle("it", shipping.pickle_function(function, "it", lambda _: True))


@pytest.mark.parametrize("listed", [("enum",)], indirect=True)
def test_functions_and_classes_of_a_script_need_no_module_but_those_they_name(
    listed: None,
) -> None:
    assert shipped(of_all_kinds)() == [1, 1, 2, 3, 4, 2]
    assert shipped(counter())() == 1


def test_a_module_that_a_function_uses_is_refused_by_name(listed: None) -> None:
    with pytest.raises(modules.ModuleRefused, match=r"module numpy is not one.*--modules numpy"):
        shipped(lambda: np.zeros(1))
    with pytest.raises(modules.ModuleRefused, match="module functools is not one"):
        shipped(functools.partial(len, "ab"))


@pytest.mark.parametrize("listed", [("os.path", "collections")], indirect=True)
def test_a_module_on_the_list_is_allowed_with_what_is_below_it_and_not_above(listed: None) -> None:
    modules.check("os.path")
    modules.check("os.path.more")
    modules.check("echelon")
    for name in ("os", "os.pathology", "collection", "", "echelon._src.shipping"):
        with pytest.raises(modules.ModuleRefused, match=r"\(collections, os\.path\)"):
            modules.check(name)


class Names:
    """Is pickled as names alone, whatever they are."""

    def __init__(self, module: str, name: str) -> None:
        self.pickled = b"\x80\x05" + b"".join(
            b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)
        )
        self.pickled += b"\x93."


@pytest.mark.parametrize("listed", [("collections", "json")], indirect=True)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "__import__"),
        ("importlib", "import_module"),
        ("pickle", "loads"),
        ("cloudpickle", "loads"),
        ("cloudpickle.cloudpickle", "loads"),
        ("cloudpickle.cloudpickle", "_lookup_module_and_qualname"),
        ("echelon._src.shipping", "import_path"),
        ("echelon._src.modules", "allow"),
        ("collections", "_sys"),
        ("collections", "_sys.exit"),
        ("collections", "_sys.modules"),
        ("json", "codecs"),
        ("json", "codecs.open"),
    ],
)
def test_no_name_leads_around_the_list(listed: None, module: str, name: str) -> None:
    with pytest.raises((modules.ModuleRefused, AttributeError)):
        modules.loads(Names(module, name).pickled)


def test_what_imports_or_reaches_into_things_asks_the_list(listed: None) -> None:
    subimport = modules.loads(Names("cloudpickle.cloudpickle", "subimport").pickled)
    with pytest.raises(modules.ModuleRefused, match="module os is not one"):
        subimport("os")
    get = modules.loads(Names("builtins", "getattr").pickled)
    assert get([1], "copy")() == [1]
    for thing, name in ((ec, "Args"), (os, "system"), (of_all_kinds, "__globals__")):
        if thing is ec:
            assert get(thing, name) is ec.Args
            continue
        with pytest.raises(modules.ModuleRefused):
            get(thing, name)


def test_types_of_builtins_are_there_without_a_list(listed: None) -> None:
    for kind in (int, ValueError, property, type(None)):
        assert modules.loads(pickle.dumps(kind, 5)) is kind


def test_handles_go_with_a_function_without_a_list(listed: None) -> None:
    pod = ec.Worker(level=4)
    handle = pod.register_orch(lambda orch: None)
    assert shipped(lambda: handle)() == handle


@pytest.mark.parametrize(
    ("listed_modules", "allowed", "may"),
    [
        ("", "", []),
        ("", "library,pickle", None),
        ("a.b,c", "pickle", ["a.b", "c"]),
        ("a", "", ["a"]),
    ],
)
def test_without_a_list_any_module_where_pickles_are_allowed_and_else_none(
    listed_modules: str, allowed: str, may: list[str] | None
) -> None:
    assert runner.may_name(listed_modules, allowed) == may


# --- over a daemon


def pod_at(address: str) -> ec.Worker:
    pod = ec.Worker(level=4, name="pod0")
    pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0", sub_workers=1))
    return pod


def call(pod: ec.Worker, handle: Any) -> Any:
    return pod.run(lambda orch: orch.submit(handle).result())


def write_steps(folder: Path) -> None:
    (folder / "pod_steps").mkdir()
    (folder / "pod_steps" / "__init__.py").write_text("")
    (folder / "pod_steps" / "first.py").write_text(
        "def where(orch):\n    return orch.path\n\n\ndef task_path(task):\n    return task.path\n"
    )


def test_an_import_path_needs_its_module_on_the_list_and_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_steps(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the daemon's
    monkeypatch.syspath_prepend(tmp_path)  # the program's: before start() it imports them, too
    with daemon("--modules", "pod_steps") as made:
        pod = pod_at(made.address)
        where = pod.register_orch("pod_steps.first:where")
        system = pod.register_orch("os:system")
        with pod:
            assert call(pod, where) == "pod0/host0"
            with pytest.raises(ec.Error, match='"system" cannot.*module os is not.*pod_steps'):
                call(pod, system)
            sub = pod.register_sub("pod_steps.first:task_path")
            with pytest.raises(ec.RegistrationFailed, match="module os is not one.*--modules os"):
                pod.register_orch("os:system")
            with pytest.raises(ec.RegistrationFailed, match="--allow pickle"):
                pod.register_orch(lambda orch: orch.submit(sub).result())
            assert call(pod, where) == "pod0/host0"


def test_a_pickle_that_names_a_module_off_the_list_is_refused_with_the_module() -> None:
    with daemon("--allow", "pickle", "--modules", "numpy") as made:
        pod = pod_at(made.address)
        before = pod.register_orch(lambda orch: collections.OrderedDict(), "before")
        allowed = pod.register_orch(lambda orch: float(np.ones(3).sum()))
        with pod:
            assert call(pod, allowed) == 3.0
            with pytest.raises(ec.Error, match='"before" cannot.*module collections is not one'):
                call(pod, before)
            with pytest.raises(ec.RegistrationFailed, match="module subprocess is not one"):
                pod.register_orch(lambda orch: subprocess.run(["true"]))
            assert call(pod, allowed) == 3.0


@pytest.mark.parametrize("text", ["a b", "a,,b", ".a", "a.", "1a", "a/b", "a,"])
def test_a_list_that_is_none_is_refused_when_the_daemon_starts(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "echelon", "daemon", "--modules", text],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2
    assert f"--modules {text}: " in done.stderr
