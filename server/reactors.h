#ifndef SIEVE_SERVER_REACTORS_H_
#define SIEVE_SERVER_REACTORS_H_

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"
#include "server/engine.h"
#include "server/event_encoding.h"
#include "server/event_reader.h"
#include "server/generation.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Reactors delete themselves when their call is over. Their methods run on gRPC's threads and, when
// events arrive, on the engine's; none of them waits for the network.

// A stream that is refused before anything was sent: the client sees a status alone.
class RefusedStream : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedStream(const absl::Status& status);
  void OnDone() override { delete this; }
};

// Sends the events of one request as GenerateEvent messages, one write at a time. While the client
// does not read, events stay in their queue, and the engine leaves the request out once that is
// full.
class GenerateReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  GenerateReactor(Engine* engine, EventContext context);

  // Once, after construction. When it is refused, the call ends with that status.
  absl::Status Submit(GenerationRequest request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // Sends the next event when there is one and no write is under way.
  void Advance();
  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const EventContext context_;
  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer message_ ABSL_GUARDED_BY(mutex_);  // lives until its write is done
  EventReader reader_;  // last: its destructor waits for Advance on the engine's thread
};

// Collects the events of one request into a GenerateResponse.
class GenerateOnceReactor : public grpc::ServerUnaryReactor {
 public:
  // `response` belongs to the call.
  GenerateOnceReactor(Engine* engine, EventContext context, grpc::ByteBuffer* response);

  // As above.
  absl::Status Submit(GenerationRequest request);

  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  void Drain();
  void Collect(const GenerationEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const EventContext context_;
  grpc::ByteBuffer* const response_;
  absl::Mutex mutex_;
  v1::GenerateResponse collected_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  EventReader reader_;  // last: its destructor waits for Drain on the engine's thread
};

}  // namespace sieve

#endif  // SIEVE_SERVER_REACTORS_H_
