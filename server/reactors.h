#ifndef SIEVE_SERVER_REACTORS_H_
#define SIEVE_SERVER_REACTORS_H_

#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "server/engine.h"
#include "server/event_encoding.h"
#include "server/event_reader.h"
#include "server/generation.h"
#include "server/open_calls.h"
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
  GenerateReactor(Engine* engine, OpenCalls* open_calls, EventContext context);

  // Once, after construction. When it is refused, the call ends with that status.
  absl::Status Submit(GenerationRequest request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // Sends the next event when there is one and no write is under way.
  void Advance();
  void FinishLocked(const absl::Status& status);  // REQUIRES: mutex_ is held

  const OpenCalls::Call call_;  // first: the call is over when all else is gone
  const EventContext context_;
  std::mutex mutex_;  // guards the next block

  bool writing_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
  grpc::ByteBuffer message_;  // lives until its write is done

  EventReader reader_;  // last: its destructor waits for Advance on the engine's thread
};

// Collects the events of one request into a GenerateResponse.
class GenerateOnceReactor : public grpc::ServerUnaryReactor {
 public:
  // `response` belongs to the call.
  GenerateOnceReactor(Engine* engine, OpenCalls* open_calls, EventContext context,
                      grpc::ByteBuffer* response);

  // As above.
  absl::Status Submit(GenerationRequest request);

  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  void Drain();
  void Collect(const GenerationEvent& event);     // REQUIRES: mutex_ is held
  void FinishLocked(const absl::Status& status);  // REQUIRES: mutex_ is held

  const OpenCalls::Call call_;  // first: the call is over when all else is gone
  const EventContext context_;
  grpc::ByteBuffer* const response_;
  std::mutex mutex_;  // guards the next block

  v1::GenerateResponse collected_;
  bool finished_ = false;

  EventReader reader_;  // last: its destructor waits for Drain on the engine's thread
};

}  // namespace sieve

#endif  // SIEVE_SERVER_REACTORS_H_
