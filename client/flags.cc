#include "client/flags.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace sieve {
namespace {

absl::Status Expected(absl::string_view what, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", what, ", got \"", text, "\""));
}

template <typename T>
absl::Status ParseItems(absl::string_view text, std::vector<T>* values) {
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    if (absl::Status status = ParseFlagValue(item, &values->emplace_back()); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseFlagValue(absl::string_view text, std::string* value) {
  *value = std::string(text);
  return absl::OkStatus();
}

absl::Status ParseFlagValue(absl::string_view text, bool* value) {
  return absl::SimpleAtob(text, value) ? absl::OkStatus() : Expected("true or false", text);
}

absl::Status ParseFlagValue(absl::string_view text, int32_t* value) {
  return absl::SimpleAtoi(text, value) ? absl::OkStatus() : Expected("a 32-bit integer", text);
}

absl::Status ParseFlagValue(absl::string_view text, uint64_t* value) {
  return absl::SimpleAtoi(text, value) ? absl::OkStatus()
                                       : Expected("a 64-bit integer, not negative", text);
}

absl::Status ParseFlagValue(absl::string_view text, float* value) {
  return absl::SimpleAtof(text, value) ? absl::OkStatus() : Expected("a number", text);
}

absl::Status ParseFlagValue(absl::string_view text, double* value) {
  return absl::SimpleAtod(text, value) ? absl::OkStatus() : Expected("a number", text);
}

absl::Status ParseFlagValue(absl::string_view text, absl::Duration* value) {
  double seconds;
  if (absl::SimpleAtod(text, &seconds)) {
    *value = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, value)) {
    return Expected("a time such as 1.5s or 200ms", text);
  }
  return *value > absl::ZeroDuration() ? absl::OkStatus() : Expected("a time above zero", text);
}

absl::Status ParseFlagValue(absl::string_view text, LogitBiasFlag* value) {
  const size_t colon = text.find(':');
  if (colon == text.npos || !absl::SimpleAtoi(text.substr(0, colon), &value->token_id) ||
      !absl::SimpleAtof(text.substr(colon + 1), &value->bias)) {
    return Expected("TOKEN_ID:BIAS", text);
  }
  return absl::OkStatus();
}

absl::Status ParseFlagValue(absl::string_view text, std::vector<int32_t>* values) {
  return ParseItems(text, values);
}

absl::Status ParseFlagValue(absl::string_view text, std::vector<double>* values) {
  return ParseItems(text, values);
}

const FlagSet::Flag* FlagSet::Find(absl::string_view name) const {
  const std::string wanted = absl::StrReplaceAll(name, {{"-", "_"}});
  const auto it = std::find_if(flags_.begin(), flags_.end(),
                               [&](const Flag& flag) { return flag.name == wanted; });
  return it == flags_.end() ? nullptr : &*it;
}

absl::Status FlagSet::Parse(absl::Span<const std::string> arguments,
                            std::vector<std::string>* positional) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (argument == "--") {
      positional->insert(positional->end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    if (!absl::ConsumePrefix(&argument, "--")) {
      positional->emplace_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const absl::string_view name = argument.substr(0, equals);
    const Flag* flag = Find(name);
    const Flag* negated = absl::StartsWith(name, "no") ? Find(name.substr(2)) : nullptr;
    absl::string_view value;
    if (flag == nullptr && negated != nullptr && negated->is_bool && equals == argument.npos) {
      flag = negated;
      value = "false";
    } else if (flag == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name));
    } else if (equals != argument.npos) {
      value = argument.substr(equals + 1);
    } else if (flag->is_bool) {
      value = "true";
    } else if (++i < arguments.size()) {
      value = arguments[i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", flag->name, " needs a value"));
    }
    if (absl::Status status = flag->set(value); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--", flag->name, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

std::string FlagSet::Help() const {
  std::string text;
  for (const Flag& flag : flags_) {
    absl::StrAppendFormat(&text, "  --%-20s %s\n", flag.name, flag.help);
  }
  return text;
}

}  // namespace sieve
