#ifndef SIEVE_SERVER_REACTORS_H_
#define SIEVE_SERVER_REACTORS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "model/tokenizer/tokenizer.h"
#include "server/content_log.h"
#include "server/engine.h"
#include "server/event_encoding.h"
#include "server/event_reader.h"
#include "server/generation.h"
#include "server/open_calls.h"
#include "server/stall_watch.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Reactors own themselves until their call is over; whoever reads a request for one shares it, for
// the call may be cancelled meanwhile. Their methods run on gRPC's threads, the readers' and, when
// events arrive, the engine's; none of them waits for the network. Nothing is sent before the first
// event: a call that ends without one ends with a status alone, and without response headers.

// A stream that is refused at once.
class RefusedStream : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  RefusedStream(grpc::CallbackServerContext* call, const absl::Status& status);
  void OnDone() override { delete this; }
};

// A call with one answer that somebody makes later. Keeps its place among the open calls until the
// client has taken the answer or is given up.
class UnaryAnswer : public grpc::ServerUnaryReactor, public StallWatch::Stream {
 public:
  // `response` belongs to the call.
  static std::shared_ptr<UnaryAnswer> Create(grpc::CallbackServerContext* call,
                                             std::shared_ptr<const OpenCalls::Call> open,
                                             grpc::ByteBuffer* response);

  // Once, also when the call was cancelled.
  void End(absl::StatusOr<grpc::ByteBuffer> answer);

  bool cancelled() const { return cancelled_.load(); }

  void OnCancel() override { cancelled_.store(true); }
  void OnDone() override;
  void EndIfStalledSince(absl::Time limit) override;

 private:
  UnaryAnswer(grpc::CallbackServerContext* call, std::shared_ptr<const OpenCalls::Call> open,
              grpc::ByteBuffer* response);

  const std::shared_ptr<const OpenCalls::Call> open_;  // first: the call is over when all is gone
  grpc::CallbackServerContext* const call_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<UnaryAnswer> self_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;  // guards the next block

  absl::Time ended_ = absl::InfiniteFuture();
  bool done_ = false;
};

// What the reactors of one kind of call are made from; borrowed, but for `open`.
struct CallParts {
  grpc::CallbackServerContext* call = nullptr;
  std::shared_ptr<const OpenCalls::Call> open;
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ContentLog* content_log = nullptr;  // null: off
};

using OnRefused = absl::FunctionRef<void(const absl::Status&)>;

// Sends the events of one request as GenerateEvent messages, one write at a time. While the client
// does not read, events stay in their queue, and the engine leaves the request out once that is
// full.
class GenerateReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                        public StallWatch::Stream {
 public:
  static std::shared_ptr<GenerateReactor> Create(CallParts parts);

  // Once: submits the request. When it could not be read, or is refused, `on_refused` is told why
  // and then the call ends with that status: who has the answer finds it counted.
  void Start(absl::StatusOr<GenerationRequest> request, OnRefused on_refused);

  // The call is over before it started.
  bool cancelled();

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void EndIfStalledSince(absl::Time limit) override;

 private:
  explicit GenerateReactor(CallParts parts);

  // Sends the next event when there is one and no write is under way.
  void Advance();
  void LogContent(const GenerationEvent& event);  // REQUIRES: mutex_ is held
  void FinishLocked(const absl::Status& status);  // REQUIRES: mutex_ is held

  const CallParts parts_;  // first: the call is over when all else is gone
  std::shared_ptr<GenerateReactor> self_;
  EventContext context_;  // from Start on
  std::mutex mutex_;      // guards the next block

  bool writing_ = false;
  absl::Time write_began_;
  bool cancelled_ = false;
  bool finished_ = false;
  grpc::ByteBuffer message_;              // lives until its write is done
  std::map<int32_t, std::string> texts_;  // of samples until now, for the content log

  EventReader reader_;  // last: its destructor waits for Advance on the engine's thread
};

// Collects the events of one request into a GenerateResponse.
class GenerateOnceReactor : public grpc::ServerUnaryReactor, public StallWatch::Stream {
 public:
  // `response` belongs to the call.
  static std::shared_ptr<GenerateOnceReactor> Create(CallParts parts, grpc::ByteBuffer* response);

  // As above.
  void Start(absl::StatusOr<GenerationRequest> request, OnRefused on_refused);
  bool cancelled();

  void OnCancel() override;
  void OnDone() override;
  void EndIfStalledSince(absl::Time limit) override;

 private:
  GenerateOnceReactor(CallParts parts, grpc::ByteBuffer* response);

  void Drain();
  void Collect(const GenerationEvent& event);     // REQUIRES: mutex_ is held
  void FinishLocked(const absl::Status& status);  // REQUIRES: mutex_ is held

  const CallParts parts_;  // first: the call is over when all else is gone
  std::shared_ptr<GenerateOnceReactor> self_;
  grpc::ByteBuffer* const response_;
  EventContext context_;  // from Start on
  std::mutex mutex_;      // guards the next block

  v1::GenerateResponse collected_;
  bool finished_ = false;
  absl::Time ended_ = absl::InfiniteFuture();
  bool done_ = false;

  EventReader reader_;  // last: its destructor waits for Drain on the engine's thread
};

}  // namespace sieve

#endif  // SIEVE_SERVER_REACTORS_H_
