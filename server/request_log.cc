#include "server/request_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/refusal.h"

namespace sieve {
namespace {

using Fields = nlohmann::ordered_json;

std::string Dump(const Fields& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true, Fields::error_handler_t::replace);
}

// A value that cannot be mistaken for more than one.
bool IsPlain(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-_.:/@", absl::string_view(&c, 1));
  });
}

std::string AsText(const Fields& fields) {
  std::string line = "request";
  for (const auto& [name, value] : fields.items()) {
    const bool plain = value.is_string() && IsPlain(value.get_ref<const std::string&>());
    absl::StrAppend(&line, " ", name, "=", plain ? value.get<std::string>() : Dump(value));
  }
  return line;
}

// Without its braces.
std::string AsJson(const Fields& fields) {
  std::string object = Dump(fields);
  return object.substr(1, object.size() - 2);
}

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

// Its parts, of fixed lengths: version, trace id, parent (span) id, flags.
void AddTrace(absl::string_view traceparent, Fields* fields) {
  if (traceparent.size() < 55) return;
  (*fields)["trace_id"] = std::string(traceparent.substr(3, 32));
  (*fields)["span_id"] = std::string(traceparent.substr(36, 16));
}

// Those that only the server can be the cause of.
bool IsServersFault(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

void Write(spdlog::logger* logger, LogFormat format, const absl::Status& status,
           const Fields& fields) {
  const auto level = IsServersFault(status.code()) ? spdlog::level::err : spdlog::level::info;
  if (!logger->should_log(level)) return;
  const std::string line = format == LogFormat::kJson ? AsJson(fields) : AsText(fields);
  logger->log(level, spdlog::string_view_t(line));
}

}  // namespace

RequestLog::RequestLog(LogFormat format, std::shared_ptr<spdlog::logger> logger)
    : format_(format), logger_(std::move(logger)) {}

void RequestLog::OnEnd(const RequestRecord& record) {
  const GenerationRequest& request = record.request;
  Fields fields = {
      {"request_id", request.id},
      {"tenant", request.tenant},
      {"code", absl::StatusCodeToString(record.status.code())},
      {"phase", NameOf(record.phase)},
      {"prompt_tokens", record.prompt_tokens},
      {"cached_prompt_tokens", record.cached_prompt_tokens},
      {"generated_tokens", record.generated_tokens},
      {"num_samples", request.num_samples},
      {"priority", request.priority},
      {"queue_s", absl::ToDoubleSeconds(record.queue)},
      {"prefill_s", absl::ToDoubleSeconds(record.prefill)},
      {"decode_s", absl::ToDoubleSeconds(record.decode)},
      {"total_s", absl::ToDoubleSeconds(record.end_to_end)},
      {"peak_cache_bytes", record.peak_cache_bytes},
      {"page_seconds", record.page_seconds},
      {"preemptions", record.preemptions},
  };
  if (record.time_to_first_token) {
    fields["ttft_s"] = absl::ToDoubleSeconds(*record.time_to_first_token);
  }
  if (!record.status.ok()) fields["error"] = std::string(record.status.message());
  AddTrace(request.traceparent, &fields);
  Write(logger_.get(), format_, record.status, fields);
}

void RequestLog::OnRefused(const RefusedRequest& request) {
  Fields fields = {
      {"request_id", std::string(request.request_id)},
      {"tenant", std::string(request.tenant)},
      {"code", absl::StatusCodeToString(request.status.code())},
      {"phase", "admission"},
      {"reason", std::string(NameOf(ReasonOf(request.status)))},
      {"error", std::string(request.status.message())},
  };
  AddTrace(request.traceparent, &fields);
  Write(logger_.get(), format_, request.status, fields);
}

}  // namespace sieve
