#include "server/request_log.h"

#include <utility>

#include "absl/time/time.h"
#include "server/log/log_fields.h"
#include "server/refusal.h"

namespace sieve {
namespace {

// Ids that are valid are no longer (sieve.v1.GenerateRequest).
constexpr size_t kMaxIdBytes = 128;

const char* NameOf(RequestPhase phase) {
  switch (phase) {
    case RequestPhase::kQueue:
      return "queue";
    case RequestPhase::kPrefill:
      return "prefill";
    case RequestPhase::kDecode:
      return "decode";
  }
  return "queue";
}

void AddCode(const absl::Status& status, LogFields* fields) {
  fields->Add("code", absl::StatusCodeToString(status.code()));
}

// Its parts, of fixed lengths: version, trace id, parent (span) id, flags.
void AddTrace(absl::string_view traceparent, LogFields* fields) {
  if (traceparent.size() < 55) return;
  fields->Add("trace_id", traceparent.substr(3, 32));
  fields->Add("span_id", traceparent.substr(36, 16));
}

void AddSeconds(absl::string_view name, absl::Duration time, LogFields* fields) {
  fields->Add(name, absl::ToDoubleSeconds(time));
}

// Those that only the server can be the cause of.
spdlog::level::level_enum LevelOf(const absl::Status& status) {
  const bool servers_fault = status.code() == absl::StatusCode::kInternal ||
                             status.code() == absl::StatusCode::kUnknown ||
                             status.code() == absl::StatusCode::kDataLoss;
  return servers_fault ? spdlog::level::err : spdlog::level::info;
}

}  // namespace

RequestLog::RequestLog(LogFormat format, std::shared_ptr<spdlog::logger> logger)
    : format_(format), logger_(std::move(logger)) {}

void RequestLog::OnEnd(const RequestRecord& record) {
  const spdlog::level::level_enum level = LevelOf(record.status);
  if (!logger_->should_log(level)) return;
  const GenerationRequest& request = record.request;
  LogFields fields(format_, "request");
  fields.Add("request_id", request.id);
  fields.Add("tenant", request.tenant);
  if (request.adapter != nullptr) fields.Add("adapter", request.adapter->name);
  AddCode(record.status, &fields);
  fields.Add("phase", NameOf(record.phase));
  fields.Add("prompt_tokens", int64_t{record.prompt_tokens});
  fields.Add("cached_prompt_tokens", int64_t{record.cached_prompt_tokens});
  fields.Add("generated_tokens", record.generated_tokens);
  fields.Add("num_samples", int64_t{request.num_samples});
  fields.Add("priority", int64_t{request.priority});
  AddSeconds("queue_s", record.queue, &fields);
  AddSeconds("prefill_s", record.prefill, &fields);
  if (record.time_to_first_token) AddSeconds("ttft_s", *record.time_to_first_token, &fields);
  AddSeconds("decode_s", record.decode, &fields);
  AddSeconds("total_s", record.end_to_end, &fields);
  fields.Add("peak_cache_bytes", record.peak_cache_bytes);
  fields.Add("page_seconds", record.page_seconds);
  if (record.reads.causal_keys > 0) {
    fields.Add("density", record.reads.density());
    fields.Add("cache_bytes_read", record.reads.bytes());
  }
  fields.Add("preemptions", int64_t{record.preemptions});
  if (!record.status.ok()) fields.Add("error", record.status.message());
  AddTrace(request.traceparent, &fields);
  logger_->log(level, spdlog::string_view_t(fields.line()));
}

void RequestLog::OnRefused(const RefusedRequest& request) {
  const spdlog::level::level_enum level = LevelOf(request.status);
  if (!logger_->should_log(level)) return;
  LogFields fields(format_, "request");
  fields.Add("request_id", request.request_id.substr(0, kMaxIdBytes));
  fields.Add("tenant", request.tenant);
  AddCode(request.status, &fields);
  fields.Add("phase", "admission");
  fields.Add("reason", NameOf(ReasonOf(request.status)));
  fields.Add("error", request.status.message());
  AddTrace(request.traceparent, &fields);
  logger_->log(level, spdlog::string_view_t(fields.line()));
}

}  // namespace sieve
