# SPDX-License-Identifier: Apache-2.0
"""What can be registered, and how orchestration functions are called."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any, Callable

_MOST = 3
_UNFINISHED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def check_plain(function: Callable[..., Any], call: str) -> None:
    """Raises TypeError for what returns a generator or a coroutine: calling it runs nothing."""
    if _is_plainly_plain(function):
        return
    call_of_type = type(function).__call__
    what = _unfinished(function) or _unfinished(call_of_type)
    if what is not None:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"{call}: {name} is {what}: calling it would run nothing of it; register a function "
            f"that returns its result"
        )


def _is_plainly_plain(function: Any) -> bool:
    """Of most functions that is seen at once: inspect takes many times as long."""
    return (
        type(function) is types.FunctionType
        and not function.__code__.co_flags & _UNFINISHED
        and not function.__dict__  # inspect.markcoroutinefunction()
    )


def _unfinished(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return "a coroutine function (async def)"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "a generator function (it has yield)"
    return None


def orch_arity(function: Callable[..., Any]) -> int:
    """How many of (orch, args, config) `function` takes. Raises TypeError for none, or more."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return _MOST  # a builtin that does not say
    positional = required = 0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional = _MOST
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional += 1
            required += parameter.default is parameter.empty
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise _wrong(function, signature)
    if positional == 0 or required > _MOST:
        raise _wrong(function, signature)
    return min(positional, _MOST)


def _wrong(function: Callable[..., Any], signature: inspect.Signature) -> TypeError:
    name = getattr(function, "__qualname__", repr(function))
    return TypeError(
        f"register_orch: an orchestration function takes (orch), (orch, args) or "
        f"(orch, args, config); {name}{signature} does not"
    )
