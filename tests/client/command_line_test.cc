#include "client/command_line.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Command = CommandLine::Command;

absl::StatusOr<CommandLine> Parse(std::vector<std::string> arguments,
                                  const std::string& input = "from standard input") {
  std::istringstream in(input);
  ConnectionOptions defaults;
  defaults.address = "localhost:1";
  defaults.api_key = "from the environment";
  return ParseCommandLine(arguments, defaults, in);
}

void ExpectRefused(std::vector<std::string> arguments, const std::string& part) {
  const absl::StatusOr<CommandLine> line = Parse(std::move(arguments));
  ASSERT_FALSE(line.ok());
  EXPECT_THAT(std::string(line.status().message()), HasSubstr(part));
}

TEST(CommandLineTest, OnlyWhatWasGivenIsSent) {
  const auto line = Parse({"generate", "Hello"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->command, Command::kGenerate);
  EXPECT_EQ(line->connection.address, "localhost:1");
  EXPECT_EQ(line->generate.text().text(), "Hello");
  EXPECT_FALSE(line->generate.text().has_add_special_tokens());
  EXPECT_FALSE(line->generate.text().has_parse_special_tokens());
  EXPECT_FALSE(line->generate.sampling().has_temperature());
  EXPECT_FALSE(line->generate.sampling().has_seed());
  EXPECT_FALSE(line->generate.stop().has_max_tokens());
  EXPECT_FALSE(line->generate.has_num_samples());
  EXPECT_FALSE(line->generate.has_logprobs());
}

TEST(CommandLineTest, ZerosThatWereGivenAreSent) {
  const auto line = Parse({"generate", "--temperature=0", "--top_k=0", "--seed=0", "--logprobs=0",
                           "--min_tokens=0", "--priority=0", "Hello"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_TRUE(line->generate.sampling().has_temperature());
  EXPECT_TRUE(line->generate.sampling().has_top_k());
  EXPECT_TRUE(line->generate.sampling().has_seed());
  EXPECT_TRUE(line->generate.has_logprobs());
  EXPECT_TRUE(line->generate.stop().has_min_tokens());
  EXPECT_TRUE(line->generate.has_priority());
}

TEST(CommandLineTest, EveryRequestFlagArrives) {
  const auto line = Parse({"generate",
                           "--max-tokens=9",
                           "--top_p=0.5",
                           "--min_p=0.1",
                           "--stop=a",
                           "--stop=b,c",
                           "--stop_id=2,3",
                           "--ignore_eos",
                           "--n=4",
                           "--repetition_penalty=2",
                           "--logit_bias=7:-100",
                           "--presence_penalty=1",
                           "--frequency_penalty=-1",
                           "--model=m",
                           "--adapter=a",
                           "--request_id=r",
                           "--timeout=2s",
                           "--json",
                           "--stats",
                           "--prompt=x"});
  ASSERT_TRUE(line.ok()) << line.status();
  const v1::GenerateRequest& request = line->generate;
  EXPECT_EQ(request.stop().max_tokens(), 9);
  EXPECT_THAT(request.stop().stop_texts(), ElementsAre("a", "b,c"));
  EXPECT_THAT(request.stop().stop_token_ids(), ElementsAre(2, 3));
  EXPECT_TRUE(request.stop().ignore_eos());
  EXPECT_EQ(request.adapter(), "a");
  EXPECT_EQ(request.num_samples(), 4);
  EXPECT_EQ(request.sampling().top_p(), 0.5f);
  EXPECT_EQ(request.sampling().min_p(), 0.1f);
  EXPECT_EQ(request.sampling().repetition_penalty(), 2);
  EXPECT_EQ(request.sampling().presence_penalty(), 1);
  EXPECT_EQ(request.sampling().frequency_penalty(), -1);
  ASSERT_EQ(request.sampling().logit_bias_size(), 1);
  EXPECT_EQ(request.sampling().logit_bias(0).bias(), -100);
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.request_id(), "r");
  EXPECT_EQ(line->timeout, absl::Seconds(2));
  EXPECT_TRUE(line->json);
  EXPECT_TRUE(line->stats);
}

TEST(CommandLineTest, ReadsThePromptFromStandardInput) {
  EXPECT_EQ(Parse({"generate"})->generate.text().text(), "from standard input");
  EXPECT_EQ(Parse({"generate", "--prompt_file=-"})->generate.text().text(), "from standard input");
  // The server says what is wrong with these.
  EXPECT_EQ(Parse({"generate"}, "")->generate.text().text(), "");
  EXPECT_EQ(Parse({"generate"}, "\xFF")->generate.text().text(), "\xFF");
  EXPECT_EQ(Parse({"generate", "--prompt="})->generate.text().text(), "");
}

TEST(CommandLineTest, ChatPrompts) {
  const auto line = Parse({"generate", "--system=be brief", "Hello"});
  ASSERT_TRUE(line.ok()) << line.status();
  ASSERT_EQ(line->generate.chat().messages_size(), 2);
  EXPECT_EQ(line->generate.chat().messages(0).role(), v1::ChatMessage::ROLE_SYSTEM);
  EXPECT_EQ(line->generate.chat().messages(1).role(), v1::ChatMessage::ROLE_USER);
  EXPECT_EQ(line->generate.chat().messages(1).content(), "Hello");
  EXPECT_EQ(Parse({"generate", "--chat", "Hello"})->generate.chat().messages_size(), 1);
}

TEST(CommandLineTest, TokenIdPrompts) {
  EXPECT_THAT(Parse({"generate", "--token_ids=1,2"})->generate.token_ids().ids(),
              ElementsAre(1, 2));
  ExpectRefused({"generate", "--token_ids=1", "text"}, "--token_ids stands alone");
}

TEST(CommandLineTest, Compare) {
  const auto line = Parse({"compare", "--adapter=a", "--max_tokens=3", "--together", "Hello"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->command, Command::kCompare);
  EXPECT_EQ(line->generate.adapter(), "a");
  EXPECT_EQ(line->generate.text().text(), "Hello");
  EXPECT_EQ(line->generate.stop().max_tokens(), 3);
  EXPECT_TRUE(line->together);
  EXPECT_EQ(Parse({"compare", "--adapter=a"})->generate.text().text(), "from standard input");
  EXPECT_EQ(Parse({"compare", "--adapter=a", "--chat", "x"})->generate.chat().messages_size(), 1);
  ExpectRefused({"compare", "Hello"}, "--adapter NAME");
  ExpectRefused({"compare", "--adapter=a", "--n=2", "x"}, "leave out --n");
  ExpectRefused({"compare", "--adapter=a", "--logprobs=0", "x"}, "leave out --logprobs");
  ExpectRefused({"generate", "--together", "x"}, "unknown flag --together");
}

TEST(CommandLineTest, TokenizeAndDetokenize) {
  const auto line = Parse({"tokenize", "--parse_special_tokens", "--nobos", "a b"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->tokenize.text().text(), "a b");
  EXPECT_TRUE(line->tokenize.text().parse_special_tokens());
  EXPECT_TRUE(line->tokenize.text().has_add_special_tokens());
  EXPECT_FALSE(line->tokenize.text().add_special_tokens());
  EXPECT_THAT(Parse({"detokenize", "1,2", "3"})->detokenize.token_ids(), ElementsAre(1, 2, 3));
  ExpectRefused({"detokenize", "one"}, "expected");
}

TEST(CommandLineTest, InfoAndHealth) {
  EXPECT_EQ(Parse({"info"})->command, Command::kInfo);
  EXPECT_EQ(Parse({"info", "--health"})->command, Command::kHealth);
  ExpectRefused({"info", "x"}, "takes no argument");
}

TEST(CommandLineTest, EveryCommandThatCallsTakesTheConnection) {
  for (const char* command : {"generate", "chat", "tokenize", "detokenize", "info"}) {
    const auto line = Parse({command, "--address=a.test:1", "--tls", "--tls_ca=ca",
                             "--tls_cert=crt", "--tls_key=key", "--tls_server_name=b.test",
                             "--api_key_file=file", "--tenant=acme"});
    ASSERT_TRUE(line.ok()) << command << ": " << line.status();
    const ConnectionOptions& connection = line->connection;
    EXPECT_EQ(connection.address, "a.test:1");
    EXPECT_TRUE(connection.tls);
    EXPECT_EQ(connection.tls_ca, "ca");
    EXPECT_EQ(connection.tls_cert, "crt");
    EXPECT_EQ(connection.tls_key, "key");
    EXPECT_EQ(connection.server_name, "b.test");
    EXPECT_EQ(connection.api_key, "from the environment");
    EXPECT_EQ(connection.api_key_file, "file");
    EXPECT_EQ(connection.tenant, "acme");
  }
  // It would be seen in the list of processes.
  ExpectRefused({"info", "--api_key=secret"}, "unknown flag --api_key");
}

TEST(CommandLineTest, NewKeys) {
  const auto line =
      Parse({"admin", "new-key", "--tenant=acme", "--weight=2.5", "--note=CI", "--json"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->command, Command::kNewKey);
  EXPECT_EQ(line->new_key.tenant, "acme");
  EXPECT_EQ(line->new_key.weight, 2.5);
  EXPECT_EQ(line->new_key.note, "CI");
  EXPECT_TRUE(line->json);
  ExpectRefused({"admin"}, "sieve admin new-key");
  ExpectRefused({"admin", "old-key", "--tenant=a"}, "sieve admin new-key");
  ExpectRefused({"admin", "new-key"}, "--tenant NAME is required");
  ExpectRefused({"admin", "new-key", "--tenant=a", "--weight=0"}, "--weight");
  ExpectRefused({"admin", "new-key", "--tenant=a", "--address=x"}, "unknown flag --address");
}

TEST(CommandLineTest, Help) {
  EXPECT_EQ(Parse({"--help"})->command, Command::kHelp);
  EXPECT_EQ(Parse({"generate", "--help"})->command, Command::kHelp);
  EXPECT_THAT(Parse({"generate", "--help"})->help, HasSubstr("--max_tokens"));
}

TEST(CommandLineTest, RefusesNonsense) {
  ExpectRefused({}, "no command given");
  ExpectRefused({"frobnicate"}, "unknown command frobnicate");
  ExpectRefused({"generate", "two", "words"}, "put text with spaces in quotes");
  ExpectRefused({"generate", "--prompt=a", "b"}, "more than one of");
  ExpectRefused({"generate", "--prompt_file=/no/such/file"}, "cannot open /no/such/file");
  ExpectRefused({"generate", "--system=a", "--prompt=\xFF"}, "a chat message is not valid UTF-8");
  ExpectRefused({"generate", "--stop=\xFF", "x"}, "a stop text is not valid UTF-8");
  ExpectRefused({"chat", "--n=2"}, "a chat has one sample");
  ExpectRefused({"chat", "--prompt=x"}, "unknown flag --prompt");
  ExpectRefused({"info", "--seed=1"}, "unknown flag --seed");
  ExpectRefused({"bench", "--rate=1", "--duration=1s", "--tenant=a", "--tenants=b,c"},
                "--tenant or --tenants");
}

}  // namespace
}  // namespace sieve
