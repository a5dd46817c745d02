#include "tests/client/bench/timed_server.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "client/bench/stream.h"

namespace sieve {
namespace {

void SleepUntil(int64_t steady_nanos) {
  std::this_thread::sleep_until(
      std::chrono::steady_clock::time_point(std::chrono::nanoseconds(steady_nanos)));
}

}  // namespace

TimedServer::TimedServer(const Rhythm& rhythm) : rhythm_(rhythm), clock_start_(SteadyNanos()) {
  v1::GetModelResponse model;
  model.mutable_shape()->set_vocabulary_size(100);
  model.mutable_limits()->set_max_context_tokens(4096);
  fake_.generation.set_model(model);
  fake_.generation.set_on_generate(
      [this](grpc::ServerContext* context, int, FakeGeneration::Writer* writer) {
        return Answer(context, writer);
      });
}

// Before anything that Answer uses goes.
TimedServer::~TimedServer() { fake_.Stop(); }

void TimedServer::StartClock() {
  const std::lock_guard<std::mutex> lock(mutex_);
  clock_start_ = SteadyNanos();
}

std::vector<TimedServer::Call> TimedServer::calls() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return calls_;
}

grpc::Status TimedServer::Answer(grpc::ServerContext* context, FakeGeneration::Writer* writer) {
  Call call;
  call.begin = SteadyNanos();
  int64_t due = call.begin;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t time = call.begin - clock_start_;
    if (time >= rhythm_.stall_begin_ns && time < rhythm_.stall_end_ns) {
      due = clock_start_ + rhythm_.stall_end_ns;
    }
  }
  writer->Write(AcceptedEventOf(1, 0));
  due += rhythm_.first_token_ns;
  v1::GenerateEvent delta = DeltaEventOf("x");
  while (delta.delta().token_ids_size() < rhythm_.tokens_per_message) {
    delta.mutable_delta()->add_token_ids(1);
  }
  for (int i = 0; i < rhythm_.messages && !context->IsCancelled(); ++i) {
    SleepUntil(due);
    call.messages.push_back(SteadyNanos());
    writer->Write(delta);
    due += rhythm_.gap_ns;
  }
  writer->Write(FinishedEventOf(v1::FINISH_REASON_MAX_TOKENS));
  call.end = SteadyNanos();
  const std::lock_guard<std::mutex> lock(mutex_);
  calls_.push_back(std::move(call));
  return grpc::Status::OK;
}

std::vector<int64_t> TimedServer::FirstTokens() const {
  std::vector<int64_t> times;
  for (const Call& call : calls()) times.push_back(call.messages.front() - call.begin);
  std::sort(times.begin(), times.end());
  return times;
}

std::vector<int64_t> TimedServer::Gaps() const {
  std::vector<int64_t> gaps;
  for (const Call& call : calls()) {
    for (size_t i = 1; i < call.messages.size(); ++i) {
      gaps.push_back(call.messages[i] - call.messages[i - 1]);
    }
  }
  std::sort(gaps.begin(), gaps.end());
  return gaps;
}

std::vector<int64_t> TimedServer::EndToEnds() const {
  std::vector<int64_t> times;
  for (const Call& call : calls()) times.push_back(call.end - call.begin);
  std::sort(times.begin(), times.end());
  return times;
}

}  // namespace sieve
