// SPDX-License-Identifier: Apache-2.0
#include <echelon/task.h>

#include <echelon/args.h>
#include <fmt/format.h>

#include "api/task_context.h"
#include "api/tensor_state.h"
#include "api/throw_status.h"

namespace echelon {
namespace detail {

Status LoanBuffer::check_usable() const {
  // pairs with the end of the task in Node::run_orchestration
  if (!term_->over.load(std::memory_order_acquire)) return {};
  return Status::error(Code::kNotFound, Reason::kStaleHandle,
                       "stale handle: the tensor was lent to a task that has ended");
}

Result<std::byte*> LoanBuffer::address(const TensorDesc& desc, Access want) const {
  return pools_.open(desc, want);
}

std::string LoanBuffer::describe() const {
  return "the level above, lent to this task";
}

void check_inline_bytes(std::size_t count, std::size_t have, std::size_t more) {
  static_assert(kInlineBytesMax == kTaskInlineBytesMax);
  if (count >= kTaskInlineMax) {
    throw_bad_argument(
        fmt::format("inline_bytes: a task takes {} inline arguments at most", kTaskInlineMax));
  }
  if (more <= kInlineBytesMax - have) return;
  throw_new(Code::kInvalidArgument, Reason::kTooLarge,
            fmt::format("inline_bytes: {} bytes{}; a task takes {} at most. Put larger data into a "
                        "tensor: it travels once, not with each task",
                        more, have == 0 ? "" : fmt::format(" beside {}", have), kInlineBytesMax));
}

}  // namespace detail

using detail::throw_bad_argument;

namespace {

const TaggedTensor& tensor_at(const detail::TaskContext& context, std::size_t i) {
  const std::size_t count = context.body->tensors.size();
  if (i >= count) {
    throw_bad_argument(
        fmt::format("tensor {} of a task that has {} (scalars are counted apart)", i, count));
  }
  return context.body->tensors[i];
}

const ScalarValue& scalar_at(const detail::TaskContext& context, std::size_t i) {
  const std::size_t count = context.body->scalars.size();
  if (i >= count) {
    throw_bad_argument(
        fmt::format("scalar {} of a task that has {} (tensors are counted apart)", i, count));
  }
  return context.body->scalars[i];
}

}  // namespace

std::size_t TaskArgs::tensor_count() const {
  return context_->body->tensors.size();
}
std::size_t TaskArgs::scalar_count() const {
  return context_->body->scalars.size();
}

std::size_t TaskArgs::inline_count() const {
  return context_->body->inlined.size();
}

std::span<const std::byte> TaskArgs::inline_bytes(std::size_t i) const {
  const std::size_t count = inline_count();
  if (i < count) return context_->body->inlined[i];
  throw_bad_argument(fmt::format(
      "inline bytes {} of a task that was given such {} times (tensors and scalars are counted "
      "apart)",
      i, count));
}

DType TaskArgs::tensor_dtype(std::size_t i) const {
  return tensor_at(*context_, i).desc.dtype;
}
bool TaskArgs::tensor_writable(std::size_t i) const {
  return allows(tensor_at(*context_, i).desc.access, Access::kWrite);
}
DType TaskArgs::scalar_dtype(std::size_t i) const {
  return scalar_at(*context_, i).dtype;
}

Tensor TaskArgs::handle(std::size_t i) const {
  const TensorDesc& desc = tensor_at(*context_, i).desc;
  if (context_->term == nullptr) {
    throw_bad_argument(
        "handles of arguments are for orchestration functions, which submit them further "
        "down; a sub function takes tensor<T>(i)");
  }
  return detail::TensorAccess::make(
      desc, detail::BufferRef(new detail::LoanBuffer(desc, context_->term, *context_->pools)));
}

const CallConfig& TaskArgs::config() const {
  return context_->body->config;
}
const std::string& TaskArgs::path() const {
  return *context_->path;
}

bool TaskArgs::cancelled() const {
  if (std::chrono::steady_clock::now() >= deadline()) {
    context_->told_to_stop = Reason::kDeadline;
    return true;
  }
  if (context_->cancelled_task == nullptr ||
      context_->cancelled_task->load(std::memory_order_relaxed) != context_->task) {
    return false;
  }
  context_->told_to_stop = Reason::kCancelled;
  return true;
}

std::chrono::steady_clock::time_point TaskArgs::deadline() const {
  using Clock = std::chrono::steady_clock;
  if (context_->deadline_ns == 0) return Clock::time_point::max();
  return Clock::time_point(std::chrono::nanoseconds(context_->deadline_ns));
}

void TaskArgs::set_result_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() > kResultBytesMax) {
    throw_bad_argument(fmt::format(
        "a result of {} bytes; at most {} are possible, larger data belongs in a tensor",
        bytes.size(), kResultBytesMax));
  }
  context_->result.assign(bytes.begin(), bytes.end());
}

void TaskArgs::cut_off_tensors() {
  // Several tensors may lie in one segment; moving that twice does no harm.
  for (const TaggedTensor& tensor : context_->body->tensors) {
    const Status status = context_->pools->directory().cut_off(tensor.desc);
    if (!status.ok()) throw_error(status.shared_info());
  }
}

detail::ViewLayout TaskArgs::layout(std::size_t i, const detail::ViewRequest& request) const {
  const TaggedTensor& tensor = tensor_at(*context_, i);
  detail::check_view(tensor.desc, request);
  const Access want = request.writable ? Access::kWrite : Access::kRead;
  std::byte* first = detail::value_or_throw(context_->pools->open(tensor.desc, want));
  return detail::make_layout(tensor.desc, first);
}

std::uint64_t TaskArgs::scalar_bits(std::size_t i, DType dtype) const {
  const ScalarValue& scalar = scalar_at(*context_, i);
  if (scalar.dtype != dtype) {
    throw_error(Status::error(Code::kInvalidArgument, Reason::kWrongType,
                              fmt::format("scalar {} is {}, and was asked for as {}", i,
                                          to_string(scalar.dtype), to_string(dtype)))
                    .shared_info());
  }
  return scalar.bits;
}

}  // namespace echelon
