#include "client/chat.h"

#include <ostream>
#include <sstream>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// "u:hello a:hi", one word for each message.
std::string Show(const v1::GenerateRequest& request) {
  std::string text;
  for (const v1::ChatMessage& message : request.chat().messages()) {
    if (!text.empty()) text += ' ';
    text += "?sua"[message.role()];
    text += ":" + message.content();
  }
  return text;
}

class ChatTest : public testing::Test {
 protected:
  ChatTest() {
    server_.generation.set_on_generate(
        [](grpc::ServerContext*, int index, FakeGeneration::Writer* writer) {
          writer->Write(DeltaEventOf("answer"));
          writer->Write(DeltaEventOf(std::to_string(index)));
          return grpc::Status::OK;
        });
  }

  ExitCode Chat(const std::string& input, const std::string& system = "") {
    return RunChat(server_.MakeSession(input), options_, system, false);
  }

  std::vector<std::string> Requests() const {
    std::vector<std::string> shown;
    for (const v1::GenerateRequest& request : server_.generation.requests()) {
      shown.push_back(Show(request));
    }
    return shown;
  }

  FakeServer server_;
  v1::GenerateRequest options_;
};

TEST_F(ChatTest, KeepsTheHistory) {
  options_.mutable_sampling()->set_seed(7);
  EXPECT_EQ(Chat("one\n\ntwo\n"), ExitCode::kOk);
  EXPECT_THAT(Requests(), ElementsAre("u:one", "u:one a:answer0 u:two"));
  EXPECT_EQ(server_.out.str(), "answer0\nanswer1\n");
  EXPECT_THAT(server_.err.str(), IsEmpty());
  EXPECT_EQ(server_.generation.requests()[1].sampling().seed(), 7);
}

TEST_F(ChatTest, ResetKeepsTheSystemMessage) {
  EXPECT_EQ(Chat("one\n/reset\ntwo\n/quit\nthree\n", "brief"), ExitCode::kOk);
  EXPECT_THAT(Requests(), ElementsAre("s:brief u:one", "s:brief u:two"));
}

TEST_F(ChatTest, NoInputNoCall) {
  EXPECT_EQ(Chat(""), ExitCode::kOk);
  EXPECT_THAT(Requests(), IsEmpty());
}

TEST_F(ChatTest, AFailedTurnIsTakenBack) {
  server_.generation.set_on_generate(
      [](grpc::ServerContext*, int index, FakeGeneration::Writer* writer) -> grpc::Status {
        if (index == 1) return {grpc::StatusCode::INVALID_ARGUMENT, "too long"};
        writer->Write(DeltaEventOf("ok"));
        return grpc::Status::OK;
      });
  EXPECT_EQ(Chat("one\ntwo\nthree\n"), ExitCode::kOk);
  EXPECT_THAT(Requests(), ElementsAre("u:one", "u:one a:ok u:two", "u:one a:ok u:three"));
  EXPECT_THAT(server_.err.str(), HasSubstr("INVALID_ARGUMENT: too long"));
}

// Interrupts as soon as something was printed.
class InterruptingBuffer : public std::stringbuf {
 public:
  explicit InterruptingBuffer(Interrupt* interrupt) : interrupt_(interrupt) {}

 private:
  int sync() override {
    if (!str().empty() && !std::exchange(done_, true)) interrupt_->Raise();
    return 0;
  }

  Interrupt* const interrupt_;
  bool done_ = false;
};

TEST_F(ChatTest, AnInterruptedAnswerStays) {
  server_.generation.set_on_generate(
      [](grpc::ServerContext* context, int index, FakeGeneration::Writer* writer) {
        writer->Write(DeltaEventOf("half"));
        if (index > 0) return grpc::Status::OK;
        while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
        return grpc::Status::CANCELLED;
      });
  InterruptingBuffer buffer(&server_.interrupt);
  std::ostream out(&buffer);
  Session session = server_.MakeSession("one\ntwo\n");
  session.out = &out;
  EXPECT_EQ(RunChat(session, options_, "", false), ExitCode::kOk);
  EXPECT_THAT(Requests(), ElementsAre("u:one", "u:one a:half u:two"));
}

TEST_F(ChatTest, EndsWhenTheServerIsGone) {
  server_.Stop();
  EXPECT_EQ(Chat("one\ntwo\n"), ExitCode::kUnavailable);
  EXPECT_THAT(Requests(), IsEmpty());
  EXPECT_THAT(server_.err.str(), HasSubstr("UNAVAILABLE"));
}

TEST_F(ChatTest, TextThatIsNotUtf8IsNotSent) {
  EXPECT_EQ(Chat("\xFF\nok\n"), ExitCode::kOk);
  EXPECT_THAT(Requests(), ElementsAre("u:ok"));
  EXPECT_THAT(server_.err.str(), HasSubstr("not valid UTF-8"));
}

TEST_F(ChatTest, ThePromptGoesToErr) {
  EXPECT_EQ(RunChat(server_.MakeSession("one\n"), options_, "", true), ExitCode::kOk);
  EXPECT_THAT(server_.err.str(), HasSubstr("> "));
  EXPECT_THAT(server_.out.str(), Not(HasSubstr(">")));
}

}  // namespace
}  // namespace sieve
