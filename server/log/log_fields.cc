#include "server/log/log_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// Text that needs no escapes and, without quotes, cannot be taken for more than one value.
bool IsPlain(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-_.:/@", absl::string_view(&c, 1));
  });
}

std::string Quote(absl::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
}

}  // namespace

LogFields::LogFields(LogFormat format, absl::string_view message) : format_(format) {
  line_.reserve(512);
  if (format_ == LogFormat::kJson) {
    absl::StrAppend(&line_, "\"", message, "\"");
  } else {
    absl::StrAppend(&line_, message);
  }
}

void LogFields::AddName(absl::string_view name) {
  if (format_ == LogFormat::kJson) {
    absl::StrAppend(&line_, ",\"", name, "\":");
  } else {
    absl::StrAppend(&line_, " ", name, "=");
  }
}

void LogFields::Add(absl::string_view name, absl::string_view value) {
  AddName(name);
  if (!IsPlain(value)) {
    absl::StrAppend(&line_, Quote(value));
  } else if (format_ == LogFormat::kJson) {
    absl::StrAppend(&line_, "\"", value, "\"");
  } else {
    absl::StrAppend(&line_, value);
  }
}

void LogFields::Add(absl::string_view name, int64_t value) {
  AddName(name);
  absl::StrAppend(&line_, value);
}

void LogFields::Add(absl::string_view name, double value) {
  AddName(name);
  if (std::isfinite(value)) {
    absl::StrAppend(&line_, value);
  } else {
    absl::StrAppend(&line_, "null");  // JSON has no infinities
  }
}

}  // namespace sieve
