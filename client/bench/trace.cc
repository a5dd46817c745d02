#include "client/bench/trace.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/bench/line_reader.h"
#include "nlohmann/json.hpp"

namespace sieve {
namespace {

constexpr char kAzureHeader[] = "TIMESTAMP,ContextTokens,GeneratedTokens";

absl::Status Wrong(absl::string_view what, absl::string_view line) {
  return absl::InvalidArgumentError(
      absl::StrCat("expected ", what, ", got \"", line.substr(0, 80), "\""));
}

absl::Status ParseAzureRow(absl::string_view line, TraceRow* row) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ',');
  absl::Time time;
  std::string error;
  if (fields.size() != 3 || !absl::ParseTime("%Y-%m-%d %H:%M:%E*S", fields[0], &time, &error) ||
      !absl::SimpleAtoi(fields[1], &row->prompt_tokens) ||
      !absl::SimpleAtoi(fields[2], &row->generated_tokens) || row->prompt_tokens < 0 ||
      row->generated_tokens < 0) {
    return Wrong("TIMESTAMP,ContextTokens,GeneratedTokens such as 2023-11-16 18:17:03.97,4808,10",
                 line);
  }
  row->at_ns = absl::ToUnixNanos(time);
  return absl::OkStatus();
}

// An integer in [0, most] under `name`; -1 when it is not one.
int64_t IntegerIn(const nlohmann::json& object, const char* name, int64_t most) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number()) return -1;
  const double value = it->get<double>();
  if (!(value >= 0 && value <= static_cast<double>(most))) return -1;
  return static_cast<int64_t>(value);
}

absl::Status ParseMooncakeRow(absl::string_view line, TraceRow* row) {
  constexpr int32_t kMaxLength = std::numeric_limits<int32_t>::max();
  constexpr int64_t kMaxMillis = int64_t{1} << 43;  // as nanoseconds below 2^63
  constexpr char kExpected[] =
      "an object with timestamp, input_length, output_length and, where blocks are told, hash_ids, "
      "none negative";
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Wrong(kExpected, line);
  const int64_t millis = IntegerIn(object, "timestamp", kMaxMillis);
  const int64_t prompt = IntegerIn(object, "input_length", kMaxLength);
  const int64_t generated = IntegerIn(object, "output_length", kMaxLength);
  if (millis < 0 || prompt < 0 || generated < 0) return Wrong(kExpected, line);
  row->at_ns = millis * 1'000'000;
  row->prompt_tokens = static_cast<int32_t>(prompt);
  row->generated_tokens = static_cast<int32_t>(generated);
  const auto blocks = object.find("hash_ids");
  if (blocks == object.end()) return absl::OkStatus();
  if (!blocks->is_array()) return Wrong(kExpected, line);
  for (const nlohmann::json& block : *blocks) {
    if (!block.is_number_integer()) return Wrong(kExpected, line);
    row->blocks.push_back(block.get<int64_t>());
  }
  return absl::OkStatus();
}

class TraceWorkload final : public Workload {
 public:
  TraceWorkload(const BenchOptions& options, const std::vector<TraceRow>& trace, double rate,
                int run)
      : trace_(trace),
        time_scale_(rate > 0 ? ScaleForRate(trace, rate) : options.time_scale),
        length_scale_(options.length_scale),
        start_(absl::ToInt64Nanoseconds(options.trace_start)),
        decorator_(options, run) {
    while (next_ < trace_.size() && trace_[next_].at_ns < start_) ++next_;
  }

  std::optional<Arrival> Next() override {
    if (next_ == trace_.size()) return std::nullopt;
    const TraceRow& row = trace_[next_++];
    Arrival arrival;
    arrival.index = index_++;
    arrival.at_ns = std::llround(static_cast<double>(row.at_ns - start_) * time_scale_);
    arrival.prompt_tokens = Scaled(row.prompt_tokens);
    arrival.max_tokens = Scaled(row.generated_tokens);
    arrival.blocks = row.blocks;
    arrival.block_tokens = Scaled(kTraceBlockTokens);
    decorator_.Decorate(&arrival);
    return arrival;
  }

 private:
  static double ScaleForRate(const std::vector<TraceRow>& trace, double rate) {
    const double seconds = static_cast<double>(trace.back().at_ns) * 1e-9;
    return seconds > 0 ? static_cast<double>(trace.size()) / rate / seconds : 1;
  }

  int32_t Scaled(int32_t length) const {
    constexpr double kMost = std::numeric_limits<int32_t>::max();
    return static_cast<int32_t>(std::clamp(std::round(length * length_scale_), 1.0, kMost));
  }

  const std::vector<TraceRow>& trace_;
  const double time_scale_, length_scale_;
  const int64_t start_;
  ArrivalDecorator decorator_;
  size_t next_ = 0;
  int64_t index_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<TraceRow>> ReadTrace(const std::string& path) {
  std::vector<TraceRow> rows;
  bool azure = false, first = true;
  const absl::Status status = ReadLines(path, [&](absl::string_view line) {
    if (std::exchange(first, false)) {
      azure = line == kAzureHeader;
      if (azure) return absl::OkStatus();
      if (line.substr(0, 1) != "{") {
        return Wrong(absl::StrCat("the header ", kAzureHeader, " or a JSON object"), line);
      }
    }
    if (line.empty()) return absl::OkStatus();
    TraceRow& row = rows.emplace_back();
    return azure ? ParseAzureRow(line, &row) : ParseMooncakeRow(line, &row);
  });
  if (!status.ok()) return status;
  if (rows.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": no request in it"));
  std::stable_sort(rows.begin(), rows.end(),
                   [](const TraceRow& a, const TraceRow& b) { return a.at_ns < b.at_ns; });
  const int64_t start = rows.front().at_ns;
  for (TraceRow& row : rows) row.at_ns -= start;
  return rows;
}

std::unique_ptr<Workload> MakeTraceWorkload(const BenchOptions& options,
                                            const std::vector<TraceRow>& trace, double rate,
                                            int run) {
  return std::make_unique<TraceWorkload>(options, trace, rate, run);
}

}  // namespace sieve
