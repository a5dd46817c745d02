#include "server/reactors.h"

#include <utility>
#include <variant>

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

}  // namespace

RefusedStream::RefusedStream(const absl::Status& status) { Finish(ToGrpcStatus(status)); }

GenerateReactor::GenerateReactor(Engine* engine, OpenCalls* open_calls, EventContext context)
    : call_(open_calls), context_(std::move(context)), reader_(engine, [this] { Advance(); }) {}

absl::Status GenerateReactor::Submit(GenerationRequest request) {
  absl::Status status = reader_.Submit(std::move(request));
  if (!status.ok()) {
    std::lock_guard lock(mutex_);
    FinishLocked(status);
  }
  return status;
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
  writing_ = true;
  message_ = SerializeMessage(Encode(context_, *event));
  StartWrite(&message_);
}

void GenerateReactor::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    cancelled_ = cancelled_ || !ok;
    if (cancelled_) FinishLocked(absl::CancelledError("the call was cancelled"));
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
  if (!writing_) FinishLocked(absl::CancelledError("the call was cancelled"));
}

void GenerateReactor::FinishLocked(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  Finish(ToGrpcStatus(status));
}

GenerateOnceReactor::GenerateOnceReactor(Engine* engine, OpenCalls* open_calls,
                                         EventContext context, grpc::ByteBuffer* response)
    : call_(open_calls),
      context_(std::move(context)),
      response_(response),
      reader_(engine, [this] { Drain(); }) {}

absl::Status GenerateOnceReactor::Submit(GenerationRequest request) {
  for (int sample = 0; sample < request.num_samples; ++sample) {
    std::lock_guard lock(mutex_);
    collected_.add_samples();
  }
  absl::Status status = reader_.Submit(std::move(request));
  if (!status.ok()) {
    std::lock_guard lock(mutex_);
    FinishLocked(status);
  }
  return status;
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
    EncodeEvent(*finished, collected_.mutable_samples(finished->sample)->mutable_finished());
  } else {
    const absl::Status& status = std::get<EndEvent>(event).status;
    if (status.ok()) *response_ = SerializeMessage(collected_);
    FinishLocked(status);
  }
}

void GenerateOnceReactor::OnCancel() {
  reader_.Cancel();
  std::lock_guard lock(mutex_);
  FinishLocked(absl::CancelledError("the call was cancelled"));
}

void GenerateOnceReactor::FinishLocked(const absl::Status& status) {
  if (finished_) return;
  finished_ = true;
  Finish(ToGrpcStatus(status));
}

}  // namespace sieve
