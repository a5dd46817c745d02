#include "server/reactors.h"

#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "server/message_buffer.h"
#include "server/status_mapping.h"

namespace sieve {
namespace {

v1::GenerateEvent Encode(const EventContext& context, const GenerationEvent& event) {
  v1::GenerateEvent out;
  if (const auto* accepted = std::get_if<AcceptedEvent>(&event)) {
    EncodeEvent(context, *accepted, out.mutable_accepted());
  } else if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
    out.mutable_delta()->set_sample(delta->sample);
    AppendOutput(context, *delta, out.mutable_delta());
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    EncodeEvent(*finished, out.mutable_finished());
  }
  return out;
}

absl::Status CancelledCall() { return absl::CancelledError("the call was cancelled"); }

}  // namespace

RefusedStream::RefusedStream(grpc::CallbackServerContext* call, const absl::Status& status) {
  Finish(EndOfCall(call, status));
}

std::shared_ptr<UnaryAnswer> UnaryAnswer::Create(grpc::CallbackServerContext* call,
                                                 std::shared_ptr<const OpenCalls::Call> open,
                                                 grpc::ByteBuffer* response) {
  const std::shared_ptr<UnaryAnswer> reactor(new UnaryAnswer(call, std::move(open), response));
  reactor->self_ = reactor;
  return reactor;
}

UnaryAnswer::UnaryAnswer(grpc::CallbackServerContext* call,
                         std::shared_ptr<const OpenCalls::Call> open, grpc::ByteBuffer* response)
    : open_(std::move(open)), call_(call), response_(response) {}

void UnaryAnswer::End(absl::StatusOr<grpc::ByteBuffer> answer) {
  std::lock_guard lock(mutex_);
  ended_ = absl::Now();
  if (answer.ok()) *response_ = *std::move(answer);
  Finish(EndOfCall(call_, answer.status()));
}

void UnaryAnswer::OnDone() {
  const std::shared_ptr<UnaryAnswer> self = std::move(self_);  // gone at the end
  std::lock_guard lock(mutex_);
  done_ = true;
}

void UnaryAnswer::EndIfStalledSince(absl::Time limit) {
  std::lock_guard lock(mutex_);
  if (!done_ && ended_ <= limit) call_->TryCancel();
}

std::shared_ptr<GenerateReactor> GenerateReactor::Create(CallParts parts) {
  const std::shared_ptr<GenerateReactor> reactor(new GenerateReactor(std::move(parts)));
  reactor->self_ = reactor;
  return reactor;
}

GenerateReactor::GenerateReactor(CallParts parts)
    : parts_(std::move(parts)), reader_(parts_.engine, [this] { Advance(); }) {}

void GenerateReactor::Start(absl::StatusOr<GenerationRequest> request, OnRefused on_refused) {
  absl::Status status = request.status();
  if (status.ok()) {
    context_ = {request->id, request->sampling.seed, parts_.tokenizer};
    status = reader_.Submit(*std::move(request));
  }
  if (status.ok()) return;
  on_refused(status);
  std::lock_guard lock(mutex_);
  FinishLocked(status);
}

bool GenerateReactor::cancelled() {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

void GenerateReactor::Advance() {
  std::lock_guard lock(mutex_);
  if (writing_ || finished_) return;
  const std::optional<GenerationEvent> event = reader_.Next();
  if (!event.has_value()) return;
  if (const auto* end = std::get_if<EndEvent>(&*event)) {
    FinishLocked(end->status);
    return;
  }
  if (parts_.content_log != nullptr) LogContent(*event);
  writing_ = true;
  write_began_ = absl::Now();
  message_ = SerializeMessage(Encode(context_, *event));
  StartWrite(&message_);
}

void GenerateReactor::LogContent(const GenerationEvent& event) {
  if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
    texts_[delta->sample] += delta->text;
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    parts_.content_log->Completion(context_.request_id, finished->sample, texts_[finished->sample]);
  }
}

void GenerateReactor::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    cancelled_ = cancelled_ || !ok;
    if (cancelled_) FinishLocked(CancelledCall());
  }
  if (!ok) {
    reader_.Cancel();
    return;
  }
  Advance();
  reader_.NotifyRead();
}

void GenerateReactor::OnCancel() {
  reader_.Cancel();
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  // A write that is under way fails soon, and ends the call then.
  if (!writing_) FinishLocked(CancelledCall());
}

void GenerateReactor::OnDone() {
  const std::shared_ptr<GenerateReactor> self = std::move(self_);  // gone at the end
}

void GenerateReactor::EndIfStalledSince(absl::Time limit) {
  std::lock_guard lock(mutex_);
  if (writing_ && !finished_ && write_began_ <= limit) parts_.call->TryCancel();
}

void GenerateReactor::FinishLocked(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  Finish(EndOfCall(parts_.call, status));
}

std::shared_ptr<GenerateOnceReactor> GenerateOnceReactor::Create(CallParts parts,
                                                                 grpc::ByteBuffer* response) {
  const std::shared_ptr<GenerateOnceReactor> reactor(
      new GenerateOnceReactor(std::move(parts), response));
  reactor->self_ = reactor;
  return reactor;
}

GenerateOnceReactor::GenerateOnceReactor(CallParts parts, grpc::ByteBuffer* response)
    : parts_(std::move(parts)), response_(response), reader_(parts_.engine, [this] { Drain(); }) {}

void GenerateOnceReactor::Start(absl::StatusOr<GenerationRequest> request, OnRefused on_refused) {
  absl::Status status = request.status();
  if (status.ok()) {
    context_ = {request->id, request->sampling.seed, parts_.tokenizer};
    {
      std::lock_guard lock(mutex_);
      for (int sample = 0; sample < request->num_samples; ++sample) collected_.add_samples();
    }
    status = reader_.Submit(*std::move(request));
  }
  if (status.ok()) return;
  on_refused(status);
  std::lock_guard lock(mutex_);
  FinishLocked(status);
}

bool GenerateOnceReactor::cancelled() {
  std::lock_guard lock(mutex_);
  return finished_;  // nothing else ends it before Start
}

void GenerateOnceReactor::Drain() {
  std::lock_guard lock(mutex_);
  while (!finished_) {
    const std::optional<GenerationEvent> event = reader_.Next();
    if (!event.has_value()) return;
    Collect(*event);
  }
}

void GenerateOnceReactor::Collect(const GenerationEvent& event) {
  if (const auto* accepted = std::get_if<AcceptedEvent>(&event)) {
    EncodeEvent(context_, *accepted, collected_.mutable_accepted());
  } else if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
    AppendOutput(context_, *delta, collected_.mutable_samples(delta->sample));
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    v1::Sample* sample = collected_.mutable_samples(finished->sample);
    EncodeEvent(*finished, sample->mutable_finished());
    if (parts_.content_log != nullptr) {
      parts_.content_log->Completion(context_.request_id, finished->sample, sample->text());
    }
  } else {
    const absl::Status& status = std::get<EndEvent>(event).status;
    if (status.ok()) *response_ = SerializeMessage(collected_);
    FinishLocked(status);
  }
}

void GenerateOnceReactor::OnCancel() {
  reader_.Cancel();
  std::lock_guard lock(mutex_);
  FinishLocked(CancelledCall());
}

void GenerateOnceReactor::OnDone() {
  const std::shared_ptr<GenerateOnceReactor> self = std::move(self_);  // gone at the end
  std::lock_guard lock(mutex_);
  done_ = true;
}

void GenerateOnceReactor::EndIfStalledSince(absl::Time limit) {
  std::lock_guard lock(mutex_);
  if (!done_ && ended_ <= limit) parts_.call->TryCancel();
}

void GenerateOnceReactor::FinishLocked(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  ended_ = absl::Now();
  Finish(EndOfCall(parts_.call, status));
}

}  // namespace sieve
