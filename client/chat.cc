#include "client/chat.h"

#include <string>

#include "absl/strings/strip.h"
#include "client/generate.h"
#include "client/request.h"
#include "client/text_printer.h"

namespace sieve {
namespace {

constexpr char kHelp[] = "/reset starts over, /quit (or Ctrl-D) leaves, Ctrl-C stops an answer.\n";

class Conversation {
 public:
  Conversation(const Session& session, const v1::GenerateRequest& options,
               const std::string& system)
      : session_(session), request_(options), system_(system) {
    Reset();
  }

  void Reset() {
    request_.mutable_chat()->clear_messages();
    if (!system_.empty()) {
      AddMessage(v1::ChatMessage::ROLE_SYSTEM, system_, request_.mutable_chat());
    }
  }

  grpc::Status Turn(const std::string& line) {
    v1::Chat* chat = request_.mutable_chat();
    AddMessage(v1::ChatMessage::ROLE_USER, line, chat);
    std::string answer;
    const grpc::Status status = Answer(&answer);
    const bool interrupted = status.error_code() == grpc::StatusCode::CANCELLED;
    if (status.ok() || (interrupted && !answer.empty())) {
      AddMessage(v1::ChatMessage::ROLE_ASSISTANT, answer, chat);
    } else {
      chat->mutable_messages()->RemoveLast();
    }
    return status;
  }

 private:
  grpc::Status Answer(std::string* answer) {
    if (const absl::Status status = CheckUtf8(request_.chat()); !status.ok()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, std::string(status.message())};
    }
    TextPrinter printer(session_, 1);
    const grpc::Status status =
        StreamEvents(session_, request_, [&](const v1::GenerateEvent& event) {
          if (session_.json) {
            PrintJson(session_, event);
          } else {
            printer.OnEvent(event);
          }
          answer->append(event.delta().text());
        });
    if (!session_.json) printer.Finish();
    return status;
  }

  const Session& session_;
  v1::GenerateRequest request_;
  const std::string system_;
};

}  // namespace

ExitCode RunChat(const Session& session, const v1::GenerateRequest& options,
                 const std::string& system, bool show_prompt) {
  Conversation conversation(session, options, system);
  ExitCode last = ExitCode::kOk;
  if (show_prompt) *session.err << kHelp;
  std::string line;
  while (true) {
    if (show_prompt) *session.err << "> " << std::flush;
    if (!std::getline(*session.in, line) || line == "/quit") break;
    if (line.empty()) continue;
    if (line == "/reset") {
      conversation.Reset();
      *session.err << "(a new conversation)\n";
    } else if (line == "/help") {
      *session.err << kHelp;
    } else {
      last = Report(session, conversation.Turn(line));
      if (last == ExitCode::kUnavailable) break;
    }
  }
  return last;
}

}  // namespace sieve
