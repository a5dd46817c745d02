#include "server/validation.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/refusal.h"
#include "tests/server/test_tokenizer.h"

namespace sieve {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int32_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr int32_t kMinInt32 = std::numeric_limits<int32_t>::min();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kContext = 1000;

class ValidationTest : public testing::Test {
 protected:
  ValidationTest() { limits_.max_context_tokens = kContext; }

  RequestValidator Validator(const ChatFormat* chat_format) const {
    return RequestValidator(limits_, "tiny", kTestVocabulary, tokenizer_.get(), chat_format);
  }

  absl::StatusOr<GenerationRequest> Validate(const v1::GenerateRequest& request) const {
    return Validator(&chat_format_).Generate(request, arrival_, absl::InfiniteFuture());
  }

  static v1::GenerateRequest Request() {
    v1::GenerateRequest request;
    request.mutable_text()->set_text("hi");
    return request;
  }

  // `request` is refused for `field` alone, with a message that holds each of `parts`.
  void ExpectRefused(const v1::GenerateRequest& request, const std::string& field,
                     const std::vector<std::string>& parts = {}) const {
    const absl::Status status = Validate(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(FieldsOf(status), ElementsAre(field)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected"));
    for (const std::string& part : parts) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    }
  }

  static std::vector<std::string> FieldsOf(const absl::Status& status) {
    std::vector<std::string> fields;
    for (const FieldViolation& violation : ViolationsOf(status)) fields.push_back(violation.field);
    return fields;
  }

  void ExpectAccepted(const v1::GenerateRequest& request) const {
    EXPECT_TRUE(Validate(request).ok()) << Validate(request).status();
  }

  Limits limits_;
  const absl::Time arrival_ = absl::Now();
  const std::unique_ptr<Tokenizer> tokenizer_ = MakeTestTokenizer();
  const TestChatFormat chat_format_;
};

TEST_F(ValidationTest, AnAdapterIsHeldByTheRequestThatNamesIt) {
  const auto adapter = std::make_shared<const ServedAdapter>();
  const RequestValidator validator(
      limits_, "tiny", kTestVocabulary, tokenizer_.get(), nullptr,
      [&](absl::string_view name) -> absl::StatusOr<std::shared_ptr<const ServedAdapter>> {
        if (name != "known") return absl::NotFoundError("no such adapter");
        return adapter;
      });
  const auto validate = [&](const v1::GenerateRequest& request) {
    return validator.Generate(request, arrival_, absl::InfiniteFuture());
  };
  v1::GenerateRequest request = Request();
  EXPECT_EQ(validate(request)->adapter, nullptr);
  request.set_adapter("");
  EXPECT_EQ(validate(request)->adapter, nullptr);
  request.set_adapter("known");
  EXPECT_EQ(validate(request)->adapter, adapter);
  EXPECT_EQ(adapter.use_count(), 1);
  request.set_adapter("unknown");
  EXPECT_EQ(validate(request).status(), absl::NotFoundError("no such adapter"));
  // Where there are none.
  const absl::Status status = Validate(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"unknown\""));
}

TEST_F(ValidationTest, DefaultsAreFilledIn) {
  const GenerationRequest request = Validate(Request()).value();
  EXPECT_THAT(request.prompt, ElementsAre(kTestBos, 'h', 'i'));
  EXPECT_THAT(request.id, testing::StartsWith("req-"));
  EXPECT_EQ(request.num_samples, 1);
  EXPECT_EQ(request.max_tokens, limits_.default_max_tokens);
  EXPECT_FALSE(request.max_tokens_is_context);
  EXPECT_EQ(request.min_tokens, 0);
  EXPECT_FALSE(request.logprobs.has_value());
  EXPECT_FALSE(request.ignore_eos);
  EXPECT_EQ(request.priority, 0);
  EXPECT_EQ(request.arrival, arrival_);
  EXPECT_EQ(request.deadline, absl::InfiniteFuture());
  EXPECT_EQ(request.sampling.temperature, 1);
  EXPECT_EQ(request.sampling.top_p, 1);
}

TEST_F(ValidationTest, IdsAndSeedsDifferFromRequestToRequest) {
  const GenerationRequest a = Validate(Request()).value(), b = Validate(Request()).value();
  EXPECT_NE(a.id, b.id);
  EXPECT_NE(a.sampling.seed, b.sampling.seed);
}

TEST_F(ValidationTest, GivenValuesArriveUnchanged) {
  v1::GenerateRequest request = Request();
  v1::SamplingParams* sampling = request.mutable_sampling();
  sampling->set_temperature(0);
  sampling->set_top_k(5);
  sampling->set_top_p(0.5);
  sampling->set_min_p(0.25);
  sampling->set_repetition_penalty(2);
  sampling->set_presence_penalty(-1);
  sampling->set_frequency_penalty(3);
  sampling->set_seed(std::numeric_limits<uint64_t>::max());
  v1::LogitBias* bias = sampling->add_logit_bias();
  bias->set_token_id(7);
  bias->set_bias(-1000);
  v1::StopParams* stop = request.mutable_stop();
  stop->set_max_tokens(20);
  stop->set_min_tokens(20);
  stop->add_stop_texts("end");
  stop->add_stop_token_ids(9);
  stop->set_ignore_eos(true);
  request.set_num_samples(3);
  request.set_logprobs(0);
  request.set_priority(-100);
  request.set_request_id("mine 1");
  request.set_model("tiny");

  const GenerationRequest out = Validate(request).value();
  EXPECT_EQ(out.sampling.temperature, 0);
  EXPECT_EQ(out.sampling.top_k, 5);
  EXPECT_EQ(out.sampling.top_p, 0.5f);
  EXPECT_EQ(out.sampling.min_p, 0.25f);
  EXPECT_EQ(out.sampling.repetition_penalty, 2);
  EXPECT_EQ(out.sampling.presence_penalty, -1);
  EXPECT_EQ(out.sampling.frequency_penalty, 3);
  EXPECT_EQ(out.sampling.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(out.sampling.logit_bias, ElementsAre(testing::Pair(7, -1000)));
  EXPECT_EQ(out.max_tokens, 20);
  EXPECT_EQ(out.min_tokens, 20);
  EXPECT_THAT(out.stop_texts, ElementsAre("end"));
  EXPECT_THAT(out.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(out.ignore_eos);
  EXPECT_EQ(out.num_samples, 3);
  EXPECT_EQ(out.logprobs, 0);
  EXPECT_EQ(out.priority, -100);
  EXPECT_EQ(out.id, "mine 1");
}

// --- prompts

TEST_F(ValidationTest, NoPrompt) {
  v1::GenerateRequest request = Request();
  request.clear_prompt();
  ExpectRefused(request, "prompt", {"absent"});
}

TEST_F(ValidationTest, EmptyPrompts) {
  v1::GenerateRequest request = Request();
  request.mutable_text()->clear_text();
  ExpectRefused(request, "text.text", {"empty"});
  request.mutable_token_ids();
  ExpectRefused(request, "token_ids.ids", {"no tokens"});
  request.mutable_chat();
  ExpectRefused(request, "chat.messages", {"empty"});
}

TEST_F(ValidationTest, InvalidUtf8NamesTheOffset) {
  v1::GenerateRequest request = Request();
  request.mutable_text()->set_text("caf\xc3\xa9 \xff!");
  ExpectRefused(request, "text.text", {"0xff", "offset 6"});
  request.mutable_text()->set_text("cut \xe2\x82");
  ExpectRefused(request, "text.text", {"0xe2", "offset 4"});
  request.mutable_chat()->add_messages()->set_role(v1::ChatMessage::ROLE_USER);
  request.mutable_chat()->mutable_messages(0)->set_content("\x80");
  ExpectRefused(request, "chat.messages[0].content", {"0x80", "offset 0"});
}

TEST_F(ValidationTest, PromptMustLeaveRoomInTheContext) {
  v1::GenerateRequest request = Request();
  // One token is bos.
  request.mutable_text()->set_text(std::string(kContext - 2, 'x'));
  const GenerationRequest longest = Validate(request).value();
  EXPECT_EQ(longest.max_tokens, 1);
  EXPECT_TRUE(longest.max_tokens_is_context);
  request.mutable_text()->set_text(std::string(kContext - 1, 'x'));
  ExpectRefused(request, "text.text", {"the prompt has 1000 tokens", "at most 999"});

  request.mutable_token_ids()->mutable_ids()->Resize(kContext - 1, 1);
  ExpectAccepted(request);
  request.mutable_token_ids()->add_ids(1);
  ExpectRefused(request, "token_ids.ids", {"the prompt has 1000 tokens", "at most 999"});
}

TEST_F(ValidationTest, HugePromptIsRefusedByItsBytes) {
  v1::GenerateRequest request = Request();
  request.mutable_text()->set_text(std::string(kContext * kTestLongestToken, 'x'));
  ExpectRefused(request, "text.text", {"at least 1000 tokens", "at most 999"});
  for (int i = 0; i < kContext; ++i) {
    request.mutable_chat()->add_messages()->set_role(v1::ChatMessage::ROLE_USER);
  }
  ExpectRefused(request, "chat.messages", {"at least 1000 tokens", "at most 999"});
}

TEST_F(ValidationTest, ThePromptsOwnLimit) {
  limits_.max_prompt_tokens = 10;
  v1::GenerateRequest request = Request();
  request.mutable_text()->set_text(std::string(9, 'x'));
  ExpectAccepted(request);
  request.mutable_text()->set_text(std::string(10, 'x'));
  ExpectRefused(request, "text.text", {"11 tokens", "at most 10", "limit"});
  request.mutable_text()->set_text(std::string(11 * kTestLongestToken, 'x'));
  ExpectRefused(request, "text.text", {"at least 11 tokens", "at most 10"});
  request.mutable_token_ids()->mutable_ids()->Resize(11, 1);
  ExpectRefused(request, "token_ids.ids", {"11 tokens", "at most 10"});
  limits_.max_prompt_tokens = kContext - 1;  // is the context's
  request.mutable_token_ids()->mutable_ids()->Resize(kContext, 1);
  ExpectRefused(request, "token_ids.ids", {"at most 999", "context"});
}

TEST_F(ValidationTest, EveryFieldThatIsWrongIsNamed) {
  v1::GenerateRequest request = Request();
  request.set_request_id("");
  request.mutable_timeout()->set_seconds(-1);
  request.set_num_samples(0);
  request.set_logprobs(-1);
  request.set_priority(101);
  request.mutable_sampling()->set_temperature(-1);
  request.mutable_sampling()->set_top_p(kNan);
  request.mutable_sampling()->add_logit_bias()->set_token_id(-5);
  request.mutable_stop()->set_max_tokens(0);
  request.mutable_stop()->set_min_tokens(-1);
  request.mutable_stop()->add_stop_texts("good");
  request.mutable_stop()->add_stop_texts("");
  request.mutable_stop()->add_stop_token_ids(-1);
  request.mutable_text()->set_text("\xff");
  const absl::Status status = Validate(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(FieldsOf(status),
              testing::UnorderedElementsAre("request_id", "timeout", "num_samples", "logprobs",
                                            "priority", "sampling.temperature", "sampling.top_p",
                                            "sampling.logit_bias[0].token_id", "stop.max_tokens",
                                            "stop.min_tokens", "stop.stop_texts[1]",
                                            "stop.stop_token_ids[0]", "text.text"));
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("request_id"), HasSubstr("9 more")));
  EXPECT_LT(status.message().size(), 1000);
}

TEST_F(ValidationTest, WhatIsWrongIsListedUpToABound) {
  v1::GenerateRequest request = Request();
  for (int i = 0; i < limits_.max_logit_bias_entries; ++i) {
    v1::LogitBias* bias = request.mutable_sampling()->add_logit_bias();
    bias->set_token_id(kMinInt32);
    bias->set_bias(kNan);
  }
  request.mutable_token_ids()->mutable_ids()->Resize(500, kMinInt32);
  for (int i = 0; i < 500; ++i) request.mutable_chat()->add_messages();
  const absl::Status status = Validate(request).status();
  EXPECT_EQ(ViolationsOf(status).size(), FieldChecks::kMaxViolations);
}

TEST_F(ValidationTest, NothingIsTokenizedForARequestThatIsWrongAnyway) {
  v1::GenerateRequest request = Request();
  request.mutable_chat()->add_messages()->set_role(v1::ChatMessage::ROLE_USER);
  request.set_num_samples(0);
  // Without a chat format the chat would be refused with another code when it is tokenized.
  EXPECT_EQ(Validator(nullptr).Generate(request, arrival_, absl::InfiniteFuture()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ValidationTest, LongPromptOfLongTokensIsAccepted) {
  v1::GenerateRequest request = Request();
  request.mutable_text()->set_parse_special_tokens(true);
  request.mutable_text()->set_add_special_tokens(false);
  std::string text;
  for (int i = 0; i < kContext - 1; ++i) text += "<eos>";
  request.mutable_text()->set_text(text);
  EXPECT_EQ(Validate(request).value().prompt, std::vector<int32_t>(kContext - 1, kTestEos));
}

TEST_F(ValidationTest, SpecialTokensInTextAreTextUnlessAllowed) {
  v1::GenerateRequest request = Request();
  request.mutable_text()->set_text("<eos>");
  request.mutable_text()->set_add_special_tokens(false);
  EXPECT_THAT(Validate(request).value().prompt, ElementsAre('<', 'e', 'o', 's', '>'));
}

TEST_F(ValidationTest, TokenIdsOutsideTheVocabulary) {
  v1::GenerateRequest request = Request();
  request.mutable_token_ids()->add_ids(0);
  request.mutable_token_ids()->add_ids(kTestVocabulary - 1);
  ExpectAccepted(request);
  for (const int32_t id : {static_cast<int32_t>(kTestVocabulary), -1, kMaxInt32, kMinInt32}) {
    request.mutable_token_ids()->set_ids(1, id);
    ExpectRefused(request, "token_ids.ids[1]", {absl::StrCat(id), "[0, 257]"});
  }
}

TEST_F(ValidationTest, TokensThatTheModelLacksAreRefused) {
  const RequestValidator validator(limits_, "tiny", /*vocabulary_size=*/kTestBos, tokenizer_.get(),
                                   nullptr);
  const absl::Status status =
      validator.Generate(Request(), arrival_, absl::InfiniteFuture()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("prompt token[0] is 256"));
}

TEST_F(ValidationTest, Chat) {
  v1::GenerateRequest request = Request();
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role(v1::ChatMessage::ROLE_USER);
  message->set_content("x");
  EXPECT_THAT(Validate(request).value().prompt, ElementsAre('u', ':', 'x', '|', 'a', ':'));

  message->set_role(v1::ChatMessage::ROLE_ASSISTANT);
  ExpectRefused(request, "chat.messages[0].role", {"last"});
  message->set_role(v1::ChatMessage::ROLE_UNSPECIFIED);
  ExpectRefused(request, "chat.messages[0].role", {"0"});
  message->set_role(static_cast<v1::ChatMessage::Role>(77));
  ExpectRefused(request, "chat.messages[0].role", {"77"});
}

TEST_F(ValidationTest, ChatWithoutAFormatSaysWhatToDo) {
  v1::GenerateRequest request = Request();
  request.mutable_chat()->add_messages()->set_role(v1::ChatMessage::ROLE_USER);
  const absl::Status status =
      Validator(nullptr).Generate(request, arrival_, absl::InfiniteFuture()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("plain prompt"));
}

// --- numbers

TEST_F(ValidationTest, FloatRanges) {
  struct Field {
    std::string name;
    void (v1::SamplingParams::*set)(float);
    std::vector<float> good, bad;  // besides NaN and the infinities, which are always bad
  };
  const float above_one = std::nextafter(1.0f, 2.0f), below_zero = -1e-30f;
  const std::vector<Field> fields = {
      {"temperature", &v1::SamplingParams::set_temperature, {0, 100}, {below_zero, 100.01f}},
      {"top_p", &v1::SamplingParams::set_top_p, {1e-30f, 1}, {0, below_zero, above_one}},
      {"min_p", &v1::SamplingParams::set_min_p, {0, 1}, {below_zero, above_one}},
      {"repetition_penalty",
       &v1::SamplingParams::set_repetition_penalty,
       {1e-30f, 10},
       {0, 10.01f}},
      {"presence_penalty", &v1::SamplingParams::set_presence_penalty, {-10, 10}, {-10.01f, 10.01f}},
      {"frequency_penalty", &v1::SamplingParams::set_frequency_penalty, {-10, 10}, {-1e30f, 1e30f}},
  };
  for (const Field& field : fields) {
    SCOPED_TRACE(field.name);
    v1::GenerateRequest request = Request();
    for (const float value : field.good) {
      (request.mutable_sampling()->*field.set)(value);
      ExpectAccepted(request);
    }
    std::vector<float> bad = field.bad;
    bad.insert(bad.end(), {kNan, -kNan, kInfinity, -kInfinity});
    for (const float value : bad) {
      (request.mutable_sampling()->*field.set)(value);
      ExpectRefused(request, "sampling." + field.name, {absl::StrCat(value)});
    }
  }
}

TEST_F(ValidationTest, IntegerRanges) {
  struct Field {
    std::string name;
    std::function<void(v1::GenerateRequest*, int32_t)> set;
    int32_t low, high;
  };
  const std::vector<Field> fields = {
      {"sampling.top_k", [](auto* r, int32_t v) { r->mutable_sampling()->set_top_k(v); }, 0,
       static_cast<int32_t>(kTestVocabulary)},
      {"num_samples", [](auto* r, int32_t v) { r->set_num_samples(v); }, 1, limits_.max_samples},
      {"logprobs", [](auto* r, int32_t v) { r->set_logprobs(v); }, 0, limits_.max_logprobs},
      {"priority", [](auto* r, int32_t v) { r->set_priority(v); }, -100, 100},
      {"stop.max_tokens", [](auto* r, int32_t v) { r->mutable_stop()->set_max_tokens(v); }, 1,
       kMaxInt32},
      {"stop.min_tokens", [](auto* r, int32_t v) { r->mutable_stop()->set_min_tokens(v); }, 0,
       limits_.default_max_tokens},
  };
  for (const Field& field : fields) {
    SCOPED_TRACE(field.name);
    v1::GenerateRequest request = Request();
    for (const int32_t value : {field.low, field.high}) {
      field.set(&request, value);
      ExpectAccepted(request);
    }
    for (const int64_t value :
         {field.low - 1L, field.high + 1L, -1000L * 1000, 1L * kMaxInt32, 1L * kMinInt32}) {
      if (value >= field.low && value <= field.high) continue;
      if (value > kMaxInt32) continue;  // the wire cannot say it
      field.set(&request, static_cast<int32_t>(value));
      ExpectRefused(request, field.name, {absl::StrCat(value)});
    }
  }
}

TEST_F(ValidationTest, MaxTokensIsCutToTheContext) {
  v1::GenerateRequest request = Request();  // 3 tokens
  request.mutable_stop()->set_max_tokens(kContext - 3);
  EXPECT_EQ(Validate(request)->max_tokens, kContext - 3);
  EXPECT_FALSE(Validate(request)->max_tokens_is_context);
  for (const int32_t more : {kContext - 2, kMaxInt32}) {
    request.mutable_stop()->set_max_tokens(more);
    EXPECT_EQ(Validate(request)->max_tokens, kContext - 3);
    EXPECT_TRUE(Validate(request)->max_tokens_is_context);
  }
  request.mutable_stop()->set_min_tokens(kMaxInt32);
  EXPECT_EQ(Validate(request)->min_tokens, kContext - 3);
}

TEST_F(ValidationTest, MinTokensAboveMaxTokens) {
  v1::GenerateRequest request = Request();
  request.mutable_stop()->set_max_tokens(4);
  request.mutable_stop()->set_min_tokens(5);
  ExpectRefused(request, "stop.min_tokens", {"5", "max_tokens, which is 4"});
}

// --- lists

TEST_F(ValidationTest, LogitBias) {
  v1::GenerateRequest request = Request();
  v1::LogitBias* bias = request.mutable_sampling()->add_logit_bias();
  for (const float value : {-1000.01f, 1000.01f, kNan, kInfinity, -kInfinity}) {
    bias->set_bias(value);
    ExpectRefused(request, "sampling.logit_bias[0].bias", {absl::StrCat(value)});
  }
  bias->set_bias(1000);
  ExpectAccepted(request);
  for (const int32_t id : {-1, static_cast<int32_t>(kTestVocabulary), kMaxInt32}) {
    bias->set_token_id(id);
    ExpectRefused(request, "sampling.logit_bias[0].token_id", {absl::StrCat(id)});
  }
  bias->set_token_id(5);
  request.mutable_sampling()->add_logit_bias()->set_token_id(6);
  request.mutable_sampling()->add_logit_bias()->set_token_id(5);
  ExpectRefused(request, "sampling.logit_bias[2].token_id", {"5 once more"});
}

TEST_F(ValidationTest, TooManyLogitBiasEntries) {
  limits_.max_logit_bias_entries = 3;
  v1::GenerateRequest request = Request();
  for (int id = 0; id < 3; ++id) {
    request.mutable_sampling()->add_logit_bias()->set_token_id(id);
  }
  ExpectAccepted(request);
  request.mutable_sampling()->add_logit_bias()->set_token_id(3);
  ExpectRefused(request, "sampling.logit_bias", {"4 entries", "at most 3"});
}

TEST_F(ValidationTest, StopTexts) {
  v1::GenerateRequest request = Request();
  request.mutable_stop()->add_stop_texts(std::string(limits_.max_stop_text_bytes, 's'));
  ExpectAccepted(request);
  request.mutable_stop()->add_stop_texts("");
  ExpectRefused(request, "stop.stop_texts[1]", {"0 bytes"});
  request.mutable_stop()->set_stop_texts(1, std::string(limits_.max_stop_text_bytes + 1, 's'));
  ExpectRefused(request, "stop.stop_texts[1]", {"257 bytes"});
  request.mutable_stop()->set_stop_texts(1, "ok\xf0\x9f");
  ExpectRefused(request, "stop.stop_texts[1]", {"UTF-8", "offset 2"});
}

TEST_F(ValidationTest, OneHundredThousandStopTexts) {
  v1::GenerateRequest request = Request();
  for (int i = 0; i < limits_.max_stop_texts; ++i) request.mutable_stop()->add_stop_texts("x");
  ExpectAccepted(request);
  while (request.stop().stop_texts_size() < 100'000) request.mutable_stop()->add_stop_texts("x");
  ExpectRefused(request, "stop.stop_texts", {"100000 entries", "at most 16"});
}

TEST_F(ValidationTest, StopTokenIds) {
  v1::GenerateRequest request = Request();
  auto* ids = request.mutable_stop()->mutable_stop_token_ids();
  ids->Resize(limits_.max_stop_token_ids, 1);
  ExpectAccepted(request);
  for (const int32_t id : {-1, static_cast<int32_t>(kTestVocabulary), kMaxInt32}) {
    ids->Set(63, id);
    ExpectRefused(request, "stop.stop_token_ids[63]", {absl::StrCat(id)});
  }
  ids->Add(1);
  ExpectRefused(request, "stop.stop_token_ids", {"65 entries", "at most 64"});
}

// --- the rest

TEST_F(ValidationTest, AnotherModel) {
  v1::GenerateRequest request = Request();
  request.set_model("llama\n" + std::string(1000, 'x'));
  const absl::Status status = Validate(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("\"llama\\n"), HasSubstr("\"tiny\"")));
  EXPECT_LT(status.message().size(), 200);
}

TEST_F(ValidationTest, RequestId) {
  v1::GenerateRequest request = Request();
  request.set_request_id(std::string(128, '~'));
  ExpectAccepted(request);
  for (const std::string& id :
       {std::string(), std::string(129, 'x'), std::string("a\nb"), std::string("caf\xc3\xa9"),
        std::string("\0", 1), std::string("\x7f")}) {
    request.set_request_id(id);
    ExpectRefused(request, "request_id", {"128 printable ASCII"});
  }
}

TEST_F(ValidationTest, TheEarlierDeadlineHolds) {
  v1::GenerateRequest request = Request();
  request.mutable_timeout()->set_seconds(2);
  request.mutable_timeout()->set_nanos(500'000'000);
  const RequestValidator validator = Validator(nullptr);
  const absl::Time own = arrival_ + absl::Milliseconds(2500);
  EXPECT_EQ(validator.Generate(request, arrival_, absl::InfiniteFuture())->deadline, own);
  const absl::Time later = own + absl::Seconds(1), earlier = own - absl::Seconds(1);
  EXPECT_EQ(validator.Generate(request, arrival_, later)->deadline, own);
  EXPECT_EQ(validator.Generate(request, arrival_, earlier)->deadline, earlier);
}

TEST_F(ValidationTest, Timeouts) {
  struct Case {
    int64_t seconds;
    int32_t nanos;
    bool good;
  };
  for (const Case& c : std::vector<Case>{{0, 1, true},
                                         {315576000000, 0, true},
                                         {0, 0, false},
                                         {-1, 0, false},
                                         {0, -1, false},
                                         {5, -1, false},
                                         {5, 1'000'000'000, false},
                                         {315576000001, 0, false},
                                         {std::numeric_limits<int64_t>::max(), 999'999'999, false},
                                         {std::numeric_limits<int64_t>::min(), 0, false}}) {
    SCOPED_TRACE(absl::StrCat(c.seconds, " s ", c.nanos, " ns"));
    v1::GenerateRequest request = Request();
    request.mutable_timeout()->set_seconds(c.seconds);
    request.mutable_timeout()->set_nanos(c.nanos);
    if (c.good) {
      ExpectAccepted(request);
    } else {
      ExpectRefused(request, "timeout", {absl::StrCat(c.seconds)});
    }
  }
}

// --- the tokenizer's own methods

TEST_F(ValidationTest, TokenizeTakesMoreThanTheContext) {
  v1::TokenizeRequest request;
  request.mutable_text()->set_text(std::string(10 * kContext, 'x'));
  EXPECT_EQ(Validator(nullptr).Tokenize(request)->size(), 10 * kContext + 1);
  request.clear_input();
  EXPECT_EQ(Validator(nullptr).Tokenize(request).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ValidationTest, DetokenizeReplacesBrokenUtf8AndLeavesOutSpecialTokens) {
  v1::DetokenizeRequest request;
  for (const int32_t id : {256, 0xc3, 0xa9, 0xff, int32_t{'x'}, 0xe2}) request.add_token_ids(id);
  EXPECT_EQ(Validator(nullptr).Detokenize(request).value(), "\u00e9\ufffdx\ufffd");
  request.set_include_special_tokens(true);
  EXPECT_EQ(Validator(nullptr).Detokenize(request).value(), "<bos>\u00e9\ufffdx\ufffd");
  request.add_token_ids(-7);
  EXPECT_THAT(std::string(Validator(nullptr).Detokenize(request).status().message()),
              HasSubstr("token_ids[6] is -7"));
}

TEST_F(ValidationTest, DetokenizeHasALimit) {
  limits_.max_request_bytes = 50;
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Resize(10, kTestEos);
  EXPECT_TRUE(Validator(nullptr).Detokenize(request).ok());
  request.add_token_ids('x');
  EXPECT_THAT(std::string(Validator(nullptr).Detokenize(request).status().message()),
              HasSubstr("51 bytes of text; expected at most 50"));
}

}  // namespace
}  // namespace sieve
