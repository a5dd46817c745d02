#include "client/generate.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_server.h"

namespace sieve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<json> JsonLines(const std::string& text) {
  std::vector<json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

class GenerateTest : public testing::Test {
 protected:
  // The fake server writes `events`, then ends the call with `status`.
  void Play(std::vector<v1::GenerateEvent> events, grpc::Status status = grpc::Status::OK) {
    server_.generation.set_on_generate(
        [events = std::move(events), status](grpc::ServerContext*, int,
                                             FakeGeneration::Writer* writer) {
          for (const v1::GenerateEvent& event : events) writer->Write(event);
          return status;
        });
  }

  FakeServer server_;
  v1::GenerateRequest request_;
};

TEST_F(GenerateTest, TextGoesToOutAndNothingElse) {
  Play({AcceptedEventOf(3, 0), DeltaEventOf("Hel"), DeltaEventOf("lo\u00e9"),
        FinishedEventOf(v1::FINISH_REASON_END_OF_SEQUENCE)});
  EXPECT_EQ(RunGenerate(server_.MakeSession(), request_), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "Hello\u00e9\n");
  EXPECT_THAT(server_.err.str(), IsEmpty());
}

TEST_F(GenerateTest, AnEmptyAnswerPrintsNothing) {
  Play({AcceptedEventOf(3, 0), DeltaEventOf(""),
        FinishedEventOf(v1::FINISH_REASON_END_OF_SEQUENCE)});
  EXPECT_EQ(RunGenerate(server_.MakeSession(), request_), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "");
}

TEST_F(GenerateTest, StatsGoToErr) {
  Play({AcceptedEventOf(30, 20), DeltaEventOf("a"), DeltaEventOf("b\n"),
        FinishedEventOf(v1::FINISH_REASON_MAX_TOKENS)});
  Session session = server_.MakeSession();
  session.stats = true;
  EXPECT_EQ(RunGenerate(session, request_), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "ab\n");
  EXPECT_THAT(server_.err.str(), HasSubstr("time to first token"));
  EXPECT_THAT(server_.err.str(),
              HasSubstr("2 tokens after a prompt of 30, of which 20 cached; max_tokens"));
}

TEST_F(GenerateTest, StatsTellWhatWasReadOfTheCache) {
  v1::GenerateEvent finished = FinishedEventOf(v1::FINISH_REASON_MAX_TOKENS);
  v1::CacheReads* reads = finished.mutable_finished()->mutable_reads();
  reads->set_causal_keys(800);
  reads->set_exact_keys(300);
  reads->set_key_value_bytes(3 << 20);
  reads->set_choice_bytes(1 << 19);
  reads->set_entry_bytes(1 << 18);
  Play({AcceptedEventOf(30, 20), DeltaEventOf("a"), finished});
  Session session = server_.MakeSession();
  session.stats = true;
  EXPECT_EQ(RunGenerate(session, request_), ExitCode::kOk);
  EXPECT_THAT(server_.err.str(),
              HasSubstr("max_tokens; read 37.5 % of the keys, 3.75 MiB of the cache)"));
}

TEST_F(GenerateTest, SeveralSamplesComeInOrder) {
  request_.set_num_samples(2);
  Play({AcceptedEventOf(3, 0), DeltaEventOf("b1", 1), DeltaEventOf("a1", 0), DeltaEventOf("b2", 1),
        FinishedEventOf(v1::FINISH_REASON_MAX_TOKENS, 1),
        FinishedEventOf(v1::FINISH_REASON_MAX_TOKENS, 0)});
  EXPECT_EQ(RunGenerate(server_.MakeSession(), request_), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "--- sample 0 ---\na1\n--- sample 1 ---\nb1b2\n");
}

TEST_F(GenerateTest, LogprobsGoToErr) {
  v1::GenerateEvent event = DeltaEventOf("x");
  v1::PositionLogprobs* logprobs = event.mutable_delta()->add_logprobs();
  logprobs->mutable_chosen()->set_token("\xE4\xB8");
  logprobs->mutable_chosen()->set_logprob(-0.5);
  logprobs->add_top()->set_token("y");
  Play({event});
  EXPECT_EQ(RunGenerate(server_.MakeSession(), request_), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "x\n");
  EXPECT_THAT(server_.err.str(), HasSubstr("-0.500"));
  EXPECT_THAT(server_.err.str(), HasSubstr("\"y\""));
}

TEST_F(GenerateTest, EveryJsonLineIsAnObject) {
  v1::GenerateEvent event = DeltaEventOf("x\"\n\u00e9");
  event.mutable_delta()->add_logprobs()->mutable_chosen()->set_token("\xFF");
  Play({AcceptedEventOf(3, 1), event, FinishedEventOf(v1::FINISH_REASON_STOP_TEXT)});
  Session session = server_.MakeSession();
  session.json = true;
  EXPECT_EQ(RunGenerate(session, request_), ExitCode::kOk);
  const std::vector<json> lines = JsonLines(server_.out.str());
  ASSERT_EQ(lines.size(), 3);
  EXPECT_EQ(lines[0]["accepted"]["prompt_tokens"], 3);
  EXPECT_EQ(lines[1]["delta"]["text"], "x\"\n\u00e9");
  EXPECT_EQ(lines[1]["delta"]["sample"], 0);
  EXPECT_EQ(lines[2]["finished"]["reason"], "FINISH_REASON_STOP_TEXT");
}

TEST_F(GenerateTest, ErrorsAfterSomeText) {
  Play({AcceptedEventOf(3, 0), DeltaEventOf("half")}, {grpc::StatusCode::INTERNAL, "it \"broke\""});
  Session session = server_.MakeSession();
  EXPECT_EQ(RunGenerate(session, request_), ExitCode::kRequestFailed);
  EXPECT_EQ(server_.out.str(), "half\n");
  EXPECT_EQ(server_.err.str(), "sieve: INTERNAL: it \"broke\"\n");

  server_.out.str("");
  session.json = true;
  EXPECT_EQ(RunGenerate(session, request_), ExitCode::kRequestFailed);
  const std::vector<json> lines = JsonLines(server_.out.str());
  ASSERT_EQ(lines.size(), 3);
  EXPECT_EQ(lines[2]["error"]["code"], "INTERNAL");
  EXPECT_EQ(lines[2]["error"]["message"], "it \"broke\"");
}

TEST_F(GenerateTest, ExitCodes) {
  for (const auto& [code, expected] : std::vector<std::pair<grpc::StatusCode, ExitCode>>{
           {grpc::StatusCode::INVALID_ARGUMENT, ExitCode::kRequestFailed},
           {grpc::StatusCode::NOT_FOUND, ExitCode::kRequestFailed},
           {grpc::StatusCode::FAILED_PRECONDITION, ExitCode::kRequestFailed},
           {grpc::StatusCode::UNAVAILABLE, ExitCode::kUnavailable},
           {grpc::StatusCode::DEADLINE_EXCEEDED, ExitCode::kDeadline},
           {grpc::StatusCode::RESOURCE_EXHAUSTED, ExitCode::kExhausted}}) {
    Play({}, {code, "no"});
    EXPECT_EQ(RunGenerate(server_.MakeSession(), request_), expected) << code;
  }
}

TEST_F(GenerateTest, AnInterruptionCancelsTheCall) {
  server_.generation.set_on_generate(
      [this](grpc::ServerContext* context, int, FakeGeneration::Writer* writer) {
        writer->Write(DeltaEventOf("half"));
        server_.interrupt.Raise();
        while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
        return grpc::Status::CANCELLED;
      });
  EXPECT_EQ(RunGenerate(server_.MakeSession(), request_), ExitCode::kInterrupted);
}

TEST_F(GenerateTest, TheTimeLimitHolds) {
  server_.generation.set_on_generate(
      [](grpc::ServerContext* context, int, FakeGeneration::Writer*) {
        while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
        return grpc::Status::CANCELLED;
      });
  Session session = server_.MakeSession();
  session.timeout = absl::Milliseconds(50);
  EXPECT_EQ(RunGenerate(session, request_), ExitCode::kDeadline);
}

}  // namespace
}  // namespace sieve
