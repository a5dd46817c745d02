#include "client/compare.h"

#include <atomic>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_server.h"

namespace sieve {
namespace {

using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

v1::GenerateEvent FinishedAfterReading(int64_t causal, int64_t exact) {
  v1::GenerateEvent event = FinishedEventOf(v1::FINISH_REASON_MAX_TOKENS);
  v1::CacheReads* reads = event.mutable_finished()->mutable_reads();
  reads->set_causal_keys(causal);
  reads->set_exact_keys(exact);
  reads->set_key_value_bytes(exact << 10);
  return event;
}

class CompareTest : public testing::Test {
 protected:
  CompareTest() {
    request_.mutable_text()->set_text("Hello");
    request_.set_adapter("sparse");
  }

  // What the fake server answers to the bare model's call and to the adapter's, and before them to
  // the small one that warms the server up.
  using Answer = std::function<grpc::Status(grpc::ServerContext*, FakeGeneration::Writer*)>;
  void Play(Answer bare, Answer sparse, Answer warm_up) {
    server_.generation.set_on_generate(
        [=, this](grpc::ServerContext* context, int i, FakeGeneration::Writer* writer) {
          const v1::GenerateRequest request = server_.generation.requests()[i];
          if (request.text().text() != "Hello") return warm_up(context, writer);
          return request.adapter().empty() ? bare(context, writer) : sparse(context, writer);
        });
  }
  void Play(Answer bare, Answer sparse) { Play(bare, sparse, Says({DeltaEventOf("warm")})); }
  static Answer Says(std::vector<v1::GenerateEvent> events,
                     grpc::Status status = grpc::Status::OK) {
    return [=](grpc::ServerContext*, FakeGeneration::Writer* writer) {
      for (const v1::GenerateEvent& event : events) writer->Write(event);
      return status;
    };
  }
  Answer Good(const std::string& end, int64_t exact) {
    return Says({AcceptedEventOf(30, 20), DeltaEventOf("Hel"), DeltaEventOf(end),
                 FinishedAfterReading(1000, exact)});
  }
  static grpc::Status WaitForCancel(grpc::ServerContext* context) {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    return grpc::Status::CANCELLED;
  }

  FakeServer server_;
  v1::GenerateRequest request_;
};

TEST_F(CompareTest, OneAfterTheOtherWithWhatTheyRead) {
  Play(Good("lo", 1000), Good("p", 125));
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {}), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "--- bare model ---\nHello\n--- sparse ---\nHelp\n");
  const std::string err = server_.err.str();
  EXPECT_THAT(err, ContainsRegex("bare model +sparse\n"));
  EXPECT_THAT(err, ContainsRegex("time to first token +[0-9]+ ms +[0-9]+ ms\n"));
  EXPECT_THAT(err, ContainsRegex("tokens/s +[0-9.]+ +[0-9.]+\n"));
  EXPECT_THAT(err, ContainsRegex("tokens +2, max_tokens +2, max_tokens\n"));
  EXPECT_THAT(err, ContainsRegex("prompt +30, 20 cached +30, 20 cached\n"));
  EXPECT_THAT(err, ContainsRegex("keys read +100 % +12.5 %\n"));
  EXPECT_THAT(err, ContainsRegex("cache read +0.977 MiB +125 KiB\n"));
  EXPECT_THAT(err, HasSubstr("the first 1 tokens are the same"));
}

TEST_F(CompareTest, BothSidesAreAskedTheSame) {
  Play(Good("lo", 1000), Good("lo", 125));
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {}), ExitCode::kOk);
  EXPECT_THAT(server_.err.str(), HasSubstr("all tokens are the same"));
  std::vector<v1::GenerateRequest> requests = server_.generation.requests();
  ASSERT_EQ(requests.size(), 3);
  requests.erase(requests.begin());  // the one before them
  EXPECT_EQ(requests[0].adapter(), "");
  EXPECT_EQ(requests[1].adapter(), "sparse");
  EXPECT_TRUE(requests[0].sampling().has_temperature());
  EXPECT_EQ(requests[0].sampling().temperature(), 0) << "greedy unless asked otherwise";
  EXPECT_TRUE(requests[0].sampling().has_seed());
  requests[1].clear_adapter();
  EXPECT_EQ(requests[0].SerializeAsString(), requests[1].SerializeAsString());

  request_.mutable_sampling()->set_temperature(0.5);
  request_.mutable_sampling()->set_seed(3);
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {}), ExitCode::kOk);
  EXPECT_EQ(server_.generation.requests()[4].sampling().temperature(), 0.5);
  EXPECT_EQ(server_.generation.requests()[5].sampling().seed(), 3);
}

// The bare model, always the first of the two, would otherwise pay for a cold server.
TEST_F(CompareTest, ASmallRequestThatIsNotShownGoesBeforeThem) {
  const grpc::Status failed(grpc::StatusCode::INTERNAL, "cold");
  for (const bool together : {false, true}) {
    server_.out.str("");
    Play(Good("lo", 1000), Good("p", 125), Says({DeltaEventOf("warm")}, failed));
    const size_t before = server_.generation.requests().size();
    EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {.together = together}), ExitCode::kOk);
    EXPECT_EQ(server_.out.str(), "--- bare model ---\nHello\n--- sparse ---\nHelp\n");
    EXPECT_THAT(server_.err.str(), Not(HasSubstr("cold")));
    const std::vector<v1::GenerateRequest> requests = server_.generation.requests();
    ASSERT_EQ(requests.size(), before + 3);
    const v1::GenerateRequest& first = requests[before];
    EXPECT_EQ(first.adapter(), "");
    EXPECT_EQ(first.stop().max_tokens(), 2);
    EXPECT_NE(first.text().text(), "Hello") << "the cache must not know their prompt";
  }
}

TEST_F(CompareTest, AnInterruptionEndsTheSmallRequestAndBoth) {
  const Answer wait = [this](grpc::ServerContext* context, FakeGeneration::Writer*) {
    server_.interrupt.Raise();
    return WaitForCancel(context);
  };
  Play(Good("lo", 1000), Good("p", 125), wait);
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {}), ExitCode::kInterrupted);
  EXPECT_THAT(server_.out.str(), Not(HasSubstr("Hel")));
}

TEST_F(CompareTest, SideBySideOnATerminal) {
  Play(Good("lo", 1000), Good("p", 125));
  const CompareOptions options = {.terminal = TerminalSize{.columns = 40, .rows = 10}};
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, options), ExitCode::kOk);
  EXPECT_THAT(server_.out.str(), ContainsRegex("bare model +\\| sparse"));
  EXPECT_THAT(server_.out.str(), ContainsRegex("Hello +\\| Help +\n$"));
  // Too narrow for columns.
  server_.out.str("");
  const CompareOptions narrow = {.terminal = TerminalSize{.columns = 39, .rows = 10}};
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, narrow), ExitCode::kOk);
  EXPECT_THAT(server_.out.str(), HasSubstr("--- sparse ---\nHelp\n"));
}

TEST_F(CompareTest, TogetherMeansAtOnce) {
  std::atomic<int> begun = 0;
  const auto meet = [&begun](const char* text) {
    return [&begun, text](grpc::ServerContext* context, FakeGeneration::Writer* writer) {
      ++begun;
      while (begun < 2 && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
      writer->Write(DeltaEventOf(text));
      return grpc::Status::OK;
    };
  };
  Play(meet("bare"), meet("adapted"));
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {.together = true}), ExitCode::kOk);
  EXPECT_EQ(server_.out.str(), "--- bare model ---\nbare\n--- sparse ---\nadapted\n");
  EXPECT_THAT(server_.err.str(), HasSubstr("shared the server's steps"));
}

TEST_F(CompareTest, AnErrorOfOneSideLeavesTheOther) {
  const grpc::Status unknown(grpc::StatusCode::NOT_FOUND, "no adapter");
  Play(Good("lo", 1000), Says({}, unknown));
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {}), ExitCode::kRequestFailed);
  EXPECT_THAT(server_.out.str(), HasSubstr("--- bare model ---\nHello\n"));
  EXPECT_THAT(server_.err.str(), ContainsRegex("keys read +100 % +-\n"));
  EXPECT_THAT(server_.err.str(), HasSubstr("sieve: sparse: NOT_FOUND: no adapter\n"));
  EXPECT_THAT(server_.err.str(), Not(HasSubstr("are the same")));

  server_.out.str("");
  server_.err.str("");
  Play(Says({AcceptedEventOf(1, 0), DeltaEventOf("half")},
            {grpc::StatusCode::RESOURCE_EXHAUSTED, "full"}),
       Good("p", 125));
  EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {}), ExitCode::kExhausted);
  EXPECT_EQ(server_.out.str(), "--- bare model ---\nhalf\n--- sparse ---\nHelp\n");
  EXPECT_THAT(server_.err.str(), HasSubstr("sieve: bare model: RESOURCE_EXHAUSTED: full\n"));
  EXPECT_THAT(server_.err.str(), ContainsRegex("tokens +1, not finished +2, max_tokens\n"));
}

TEST_F(CompareTest, AnInterruptionEndsBoth) {
  for (const bool together : {false, true}) {
    server_.out.str("");
    const Answer wait = [this](grpc::ServerContext* context, FakeGeneration::Writer* writer) {
      writer->Write(DeltaEventOf("half"));
      server_.interrupt.Raise();
      return WaitForCancel(context);
    };
    Play(wait, wait);
    EXPECT_EQ(RunCompare(server_.MakeSession(), request_, {.together = together}),
              ExitCode::kInterrupted);
    EXPECT_THAT(server_.out.str(), HasSubstr("--- bare model ---\n")) << "what came is shown";
  }
}

TEST_F(CompareTest, TheTimeLimitIsOfEachCall) {
  const Answer wait = [](grpc::ServerContext* context, FakeGeneration::Writer*) {
    return WaitForCancel(context);
  };
  Play(wait, Good("p", 125));
  Session session = server_.MakeSession();
  session.timeout = absl::Milliseconds(500);
  EXPECT_EQ(RunCompare(session, request_, {}), ExitCode::kDeadline);
  EXPECT_THAT(server_.out.str(), HasSubstr("--- sparse ---\nHelp\n"));
}

TEST_F(CompareTest, EveryJsonLineNamesItsSide) {
  Play(Good("\"lo\"", 1000),
       Says({DeltaEventOf("x")}, {grpc::StatusCode::INTERNAL, "it \"broke\""}));
  Session session = server_.MakeSession();
  session.json = true;
  EXPECT_EQ(RunCompare(session, request_, {}), ExitCode::kRequestFailed);
  std::istringstream lines(server_.out.str());
  std::vector<json> parsed;
  for (std::string line; std::getline(lines, line);) parsed.push_back(json::parse(line));
  ASSERT_EQ(parsed.size(), 6);
  EXPECT_EQ(parsed[0]["adapter"], "");
  EXPECT_EQ(parsed[0]["event"]["accepted"]["prompt_tokens"], 30);
  EXPECT_EQ(parsed[2]["event"]["delta"]["text"], "\"lo\"");
  EXPECT_EQ(parsed[3]["event"]["finished"]["reads"]["causal_keys"], "1000");
  EXPECT_EQ(parsed[4]["adapter"], "sparse");
  EXPECT_EQ(parsed[5]["error"]["message"], "it \"broke\"");
}

}  // namespace
}  // namespace sieve
