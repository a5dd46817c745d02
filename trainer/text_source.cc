#include "trainer/text_source.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "trainer/text_file.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr char kEmptyLine[] = "\n\n";

absl::Status Lacks(absl::string_view field) {
  return absl::InvalidArgumentError(absl::StrCat("has no text \"", field, "\""));
}

absl::StatusOr<std::string> TextOf(const json& object, const std::string& field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_string()) return Lacks(field);
  return found->get<std::string>();
}

absl::StatusOr<Document> FieldsOf(const json& object, const std::vector<std::string>& fields) {
  std::string text;
  for (const std::string& field : fields) {
    const absl::StatusOr<std::string> more = TextOf(object, field);
    if (!more.ok()) return more.status();
    absl::StrAppend(&text, text.empty() ? "" : kEmptyLine, *more);
  }
  return Document{.passages = {{.text = std::move(text)}}};
}

// In the words of the usual evaluation, so that the answer follows what it will follow there.
absl::StatusOr<Document> Gsm8kOf(const json& object) {
  const absl::StatusOr<std::string> question = TextOf(object, "question");
  if (!question.ok()) return question.status();
  const absl::StatusOr<std::string> answer = TextOf(object, "answer");
  if (!answer.ok()) return answer.status();
  return Document{.passages = {{.text = absl::StrCat("Question: ", *question, "\nAnswer:")},
                               {.text = absl::StrCat(" ", *answer), .is_answer = true}}};
}

absl::StatusOr<ChatTurn> TurnOf(const json& message) {
  if (!message.is_object()) return absl::InvalidArgumentError("has a message that is no object");
  const absl::StatusOr<std::string> role = TextOf(message, "role");
  if (!role.ok()) return role.status();
  absl::StatusOr<std::string> content = TextOf(message, "content");
  if (!content.ok()) return content.status();
  const std::pair<absl::string_view, ChatRole> roles[] = {{"system", ChatRole::kSystem},
                                                          {"user", ChatRole::kUser},
                                                          {"assistant", ChatRole::kAssistant}};
  for (const auto& [name, value] : roles) {
    if (*role == name) return ChatTurn{.role = value, .content = *std::move(content)};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("has the role \"", *role, "\": system, user or assistant is expected"));
}

absl::StatusOr<Document> MessagesOf(const json& messages) {
  if (!messages.is_array()) return absl::InvalidArgumentError("has \"messages\" that are no list");
  Document document;
  for (const json& message : messages) {
    absl::StatusOr<ChatTurn> turn = TurnOf(message);
    if (!turn.ok()) return turn.status();
    document.turns.push_back(*std::move(turn));
  }
  if (document.turns.empty()) return absl::InvalidArgumentError("has no messages");
  return document;
}

absl::StatusOr<Document> ChatOf(const json& object, const std::vector<std::string>& fields) {
  const auto messages = object.find("messages");
  if (messages != object.end()) return MessagesOf(*messages);
  std::string user;
  for (size_t i = 0; i + 1 < fields.size(); ++i) {
    const absl::StatusOr<std::string> more = TextOf(object, fields[i]);
    if (!more.ok() || more->empty()) continue;
    absl::StrAppend(&user, user.empty() ? "" : kEmptyLine, *more);
  }
  if (user.empty()) return Lacks(fields.front());
  absl::StatusOr<std::string> reply = TextOf(object, fields.back());
  if (!reply.ok()) return reply.status();
  return Document{.turns = {{.role = ChatRole::kUser, .content = std::move(user)},
                            {.role = ChatRole::kAssistant, .content = *std::move(reply)}}};
}

absl::StatusOr<Document> DocumentOf(const std::string& line, const TextSource& source) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("is no JSON object");
  switch (source.format) {
    case TextFormat::kGsm8k:
      return Gsm8kOf(object);
    case TextFormat::kChat:
      return ChatOf(object, source.fields);
    default:
      return FieldsOf(object, source.fields);
  }
}

// Makes one document of several.
class Joiner {
 public:
  Joiner(int64_t count, const std::function<absl::Status(Document)>& each)
      : count_(count), each_(each) {}

  absl::Status Add(Document document) {
    if (!document.turns.empty()) return each_(std::move(document));
    // Not a passage of its own, which would be encoded apart from what follows.
    if (joined_ > 0) document.passages.front().text.insert(0, kEmptyLine);
    for (Passage& passage : document.passages) open_.passages.push_back(std::move(passage));
    return ++joined_ == count_ ? Finish() : absl::OkStatus();
  }

  absl::Status Finish() {
    if (std::exchange(joined_, 0) == 0) return absl::OkStatus();
    return each_(std::exchange(open_, {}));
  }

 private:
  const int64_t count_;
  const std::function<absl::Status(Document)>& each_;
  Document open_;
  int64_t joined_ = 0;
};

absl::Status ReadLine(const std::string& line, int64_t number, const TextSource& source,
                      Joiner* joiner) {
  if (line.empty()) return absl::OkStatus();
  absl::StatusOr<Document> document = DocumentOf(line, source);
  if (document.ok()) return joiner->Add(*std::move(document));
  return absl::InvalidArgumentError(
      absl::StrCat(source.path, ", line ", number, " ", document.status().message()));
}

absl::Status ReadLines(TextFile& file, const TextSource& source, Joiner* joiner) {
  std::string rest;
  for (int64_t number = 1;;) {
    const absl::StatusOr<std::string> more = file.Read();
    if (!more.ok()) return more.status();
    rest += *more;
    size_t begin = 0;
    for (size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const absl::Status status =
          ReadLine(rest.substr(begin, end - begin), number++, source, joiner);
      if (!status.ok()) return status;
    }
    rest.erase(0, begin);
    if (more->empty()) return ReadLine(rest, number, source, joiner);
  }
}

}  // namespace

absl::Status ReadDocuments(const TextSource& source,
                           const std::function<absl::Status(Document)>& each) {
  const absl::StatusOr<std::unique_ptr<TextFile>> file = TextFile::Open(source.path);
  if (!file.ok()) return file.status();
  if (source.format == TextFormat::kText) {
    absl::StatusOr<std::string> text = ReadAll(**file);
    if (!text.ok()) return text.status();
    return each({.passages = {{.text = *std::move(text)}}});
  }
  Joiner joiner(source.join, each);
  const absl::Status status = ReadLines(**file, source, &joiner);
  return status.ok() ? joiner.Finish() : status;
}

}  // namespace sieve
