// SPDX-License-Identifier: Apache-2.0
//
// LaneStream: one gRPC call as a lane uses it, at the end that opened it or at the one that let it
// in. Each operation completes its tag once.
//
// Threads: cancel() any; the others as gRPC wants them: one read, and one write, under way at most.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

namespace echelon {

class LaneStream {
 public:
  virtual ~LaneStream() = default;
  virtual void read(grpc::ByteBuffer& into, void* tag) = 0;
  virtual void write(const grpc::ByteBuffer& from, void* tag) = 0;
  /// Nothing more will be written. Asked for only where says_last() is true.
  virtual void writes_done(void* tag) = 0;
  virtual bool says_last() const = 0;
  /// The opener: waits for the status. The other end: sends it, so that the call is over.
  virtual void finish(void* tag) = 0;
  /// The opener's, once finish() has completed.
  virtual const grpc::Status& status() const = 0;
  virtual void cancel() = 0;
};

}  // namespace echelon
