// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <echelon/embedding.h>

#include "api/callables.h"
#include "base/status.h"
#include "process/registration_codec.h"

namespace echelon::detail {

/// The kind of tasks that run it. REQUIRES: not a library.
TaskKind task_kind(RegisteredKind kind);

/// Only a language can make a function of it.
bool needs_language(embedding::Form form);
/// What is said of such a function where there is none.
std::string native_refusal(std::string_view name, TaskKind kind);

/// In place of a function that cannot be made here: says so when it is called.
void refuse_calls(Callable& callable, std::string why);

/// Its name and identity alone: what a Worker needs that only passes it on to its children.
Callable describe_callable(const RegisterRequest& request);

/// The function itself, made from what was shipped. May block: see embedding::Language. Errors: the
/// digest differs, there is no such function, the language's own message.
Result<Callable> make_callable(const RegisterRequest& request, const embedding::Language* language);

/// Hex SHA-256 of its descriptor. Taken when an error asks for it: each of a host's processes would
/// take it while whoever registers waits for all of them.
std::string digest_of(const Callable& callable);

/// SHA-256 of what a shipped callable is: its kind, its form, its payload's digest.
std::string identity_of(RegisteredKind kind, embedding::Form form, const Digest& payload);

}  // namespace echelon::detail
