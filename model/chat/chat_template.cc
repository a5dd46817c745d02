#include "model/chat/chat_template.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace sieve {
namespace {

constexpr std::string_view kPreamble = "Cutting Knowledge Date: December 2023";

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

char Unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    default:
      return c;
  }
}

// A string literal of the template with its escapes resolved, and the code since the one before.
struct Literal {
  std::string code_before;
  std::string text;
};

// The string literals inside {{ }} and {% %}. Text outside and comments are skipped.
std::vector<Literal> FindLiterals(std::string_view source) {
  std::vector<Literal> literals;
  std::string code;
  bool inside = false;
  for (size_t i = 0; i < source.size(); ++i) {
    const std::string_view two = source.substr(i, 2);
    if (!inside && two == "{#") {
      i = std::min(source.find("#}", i), source.size());
    } else if (two == "{{" || two == "{%") {
      inside = true;
      ++i;
    } else if (two == "}}" || two == "%}") {
      inside = false;
      ++i;
      code.clear();
    } else if (inside && (source[i] == '\'' || source[i] == '"')) {
      Literal literal{std::move(code), ""};
      code.clear();
      const char quote = source[i];
      for (++i; i < source.size() && source[i] != quote; ++i) {
        const bool escape = source[i] == '\\' && i + 1 < source.size();
        literal.text.push_back(escape ? Unescape(source[++i]) : source[i]);
      }
      literals.push_back(std::move(literal));
    } else if (inside) {
      code.push_back(source[i]);
    }
  }
  return literals;
}

absl::Status Unknown(const std::string& reason) { return absl::FailedPreconditionError(reason); }

// The system message that a literal holds whole, between `opener` and `closer`. Nullopt when no
// literal has the opener. FAILED_PRECONDITION when one has it without the closer: the message is
// then put together in ways unknown.
absl::StatusOr<std::optional<std::string>> FindDefaultSystem(const std::vector<Literal>& literals,
                                                             std::string_view opener,
                                                             std::string_view closer) {
  std::optional<std::string> message;
  for (const Literal& literal : literals) {
    const size_t begin = literal.text.find(opener);
    if (begin == literal.text.npos) continue;
    const size_t end = literal.text.find(closer, begin + opener.size());
    if (end == literal.text.npos || message.has_value()) {
      return Unknown("it composes a system message");
    }
    message = literal.text.substr(begin + opener.size(), end - begin - opener.size());
  }
  return message;
}

// The literal in `set date_string = "26 Jul 2024"`.
absl::StatusOr<std::string> FindDate(const std::vector<Literal>& literals) {
  for (const Literal& literal : literals) {
    if (Contains(literal.code_before, "set date_string") && literal.code_before.back() != '(') {
      return literal.text;
    }
  }
  return Unknown("it names today's date but no date to default to");
}

absl::StatusOr<ChatTemplate> ReadChatMl(std::string_view source,
                                        const std::vector<Literal>& literals) {
  // Signs of templates that change contents or add to them.
  for (const std::string_view sign : {"trim", "strip", "replace", "think"}) {
    if (Contains(source, sign)) {
      return Unknown("it is like ChatML but uses \"" + std::string(sign) + "\"");
    }
  }
  ChatTemplate result;
  result.family = ChatTemplate::Family::kChatMl;
  auto system = FindDefaultSystem(literals, "<|im_start|>system\n", "<|im_end|>");
  if (!system.ok()) return system.status();
  result.default_system = *std::move(system);
  return result;
}

absl::StatusOr<ChatTemplate> ReadLlama3(std::string_view source,
                                        const std::vector<Literal>& literals) {
  ChatTemplate result;
  result.family = ChatTemplate::Family::kLlama3;
  result.trim_contents = Contains(source, "trim");
  if (Contains(source, kPreamble)) {
    absl::StatusOr<std::string> date = FindDate(literals);
    if (!date.ok()) return date.status();
    result.preamble_date = *std::move(date);
    return result;
  }
  auto system =
      FindDefaultSystem(literals, "<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>");
  if (!system.ok()) return system.status();
  result.default_system = *std::move(system);
  return result;
}

}  // namespace

absl::StatusOr<ChatTemplate> RecogniseChatTemplate(std::string_view source) {
  const bool chatml = Contains(source, "<|im_start|>") && Contains(source, "<|im_end|>");
  const bool llama3 = Contains(source, "<|start_header_id|>") &&
                      Contains(source, "<|end_header_id|>") && Contains(source, "<|eot_id|>");
  if (chatml == llama3) return Unknown("it is neither ChatML nor Llama 3");
  const std::vector<Literal> literals = FindLiterals(source);
  absl::StatusOr<ChatTemplate> result =
      chatml ? ReadChatMl(source, literals) : ReadLlama3(source, literals);
  if (!result.ok()) return result.status();
  result->bos_first = Contains(source, "bos_token") || Contains(source, "<|begin_of_text|>");
  return result;
}

}  // namespace sieve
