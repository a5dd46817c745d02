#include "server/api_keys.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string HexDigest(absl::string_view key) {
  const Sha256 digest = Sha256Of(key);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string Entry(absl::string_view key, absl::string_view tenant, absl::string_view more = "") {
  return absl::StrCat(R"({"sha256": ")", HexDigest(key), R"(", "tenant": ")", tenant, "\"", more,
                      "}");
}

std::string File(const std::vector<std::string>& entries) {
  return absl::StrCat(R"({"keys": [)", absl::StrJoin(entries, ", "), "]}");
}

class ApiKeysTest : public testing::Test {
 protected:
  ApiKeysTest() : path_(absl::StrCat(testing::TempDir(), "/api_keys", getpid(), ".json")) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~ApiKeysTest() override { std::filesystem::remove(path_); }

  // In place, or as a new file under the same name.
  void Write(const std::string& content) const { std::ofstream(path_) << content; }
  void Replace(const std::string& content) const {
    std::ofstream(path_ + ".new") << content;
    std::filesystem::rename(path_ + ".new", path_);
  }

  std::unique_ptr<ApiKeys> Open() {
    auto keys = ApiKeys::Open(path_, [this] { return now_.load(); });
    EXPECT_TRUE(keys.ok()) << keys.status();
    return *std::move(keys);
  }
  void ExpectRefused(const std::string& content, const std::string& reason) const {
    SCOPED_TRACE(content.substr(0, 300));
    Write(content);
    const auto keys = ApiKeys::Open(path_);
    EXPECT_EQ(keys.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(keys.status().message()), AllOf(HasSubstr(path_), HasSubstr(reason)));
  }
  void PassASecond() { now_ = now_.load() + std::chrono::seconds(1); }

  const std::string path_;
  std::ostringstream log_;
  std::atomic<std::chrono::steady_clock::time_point> now_{};
};

TEST_F(ApiKeysTest, Sha256IsTheStandards) {
  EXPECT_EQ(HexDigest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexDigest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(ApiKeysTest, FindsTheOwnerOfAKey) {
  Write(File({Entry("first", "acme", R"(, "weight": 2.5, "note": "CI; Jo's laptop")"),
              Entry("second", "acme", R"(, "weight": 2.5)"), Entry("third", "B.2_c-d")}));
  const auto keys = Open();
  for (const char* key : {"first", "second"}) {
    const std::optional<KeyOwner> owner = keys->Find(key);
    ASSERT_TRUE(owner.has_value()) << key;
    EXPECT_EQ(owner->tenant, "acme");
    EXPECT_EQ(owner->weight, 2.5);
  }
  ASSERT_TRUE(keys->Find("third").has_value());
  EXPECT_EQ(keys->Find("third")->tenant, "B.2_c-d");
  EXPECT_EQ(keys->Find("third")->weight, 1);
}

TEST_F(ApiKeysTest, OtherKeysHaveNoOwner) {
  Write(File({Entry("first", "acme"), Entry("second", "other")}));
  const auto keys = Open();
  for (const std::string& key :
       {std::string(), std::string("firs"), std::string("first "), std::string("FIRST"),
        std::string("first\0", 6), HexDigest("first"), std::string(1 << 20, 'x')}) {
    EXPECT_FALSE(keys->Find(key).has_value()) << key.substr(0, 80);
  }
}

TEST_F(ApiKeysTest, DigestsInCapitalsAreTheSame) {
  Write(absl::StrCat(R"({"keys": [{"tenant": "a", "sha256": ")",
                     absl::AsciiStrToUpper(HexDigest("key")), "\"}]}"));
  EXPECT_TRUE(Open()->Find("key").has_value());
}

TEST_F(ApiKeysTest, FilesThatAreRefused) {
  ExpectRefused("", "malformed JSON");
  ExpectRefused("{", "malformed JSON");
  ExpectRefused("[]", "not a JSON object");
  ExpectRefused("{}", "no \"keys\" array");
  ExpectRefused(R"({"keys": {}})", "no \"keys\" array");
  ExpectRefused(R"({"keys": []})", "no keys");
  ExpectRefused(R"({"keys": [], "keys": []})", "twice");
  ExpectRefused(R"({"keys": ["x"]})", "keys[0]: not a JSON object");
  ExpectRefused(R"({"keys": [], "extra": 1})", "unknown key \"extra\"");
  ExpectRefused(File({Entry("a", "a", R"(, "wieght": 2)")}), "unknown key \"wieght\"");
  ExpectRefused(File({Entry("a", "a"), Entry("b", "b"), Entry("a", "c")}), "keys[2]: \"sha256\"");
  ExpectRefused(File({Entry("a", "a"), Entry("b", "a", R"(, "weight": 2)")}),
                "keys[1]: tenant a has weight 2 here and 1 before");
  ExpectRefused(std::string(100'000, '[') + std::string(100'000, ']'), "nested deeper");
  ExpectRefused(File({Entry("a", "a")}) + std::string(1 << 20, ' '), "1048576 bytes");
}

TEST_F(ApiKeysTest, WrongWeightsAreRefused) {
  for (const char* weight : {"0", "-1", "0.0009", "1001", "1e400", "null1", "\"2\"", "[]"}) {
    const std::string content = File({Entry("a", "a", absl::StrCat(", \"weight\": ", weight))});
    SCOPED_TRACE(content);
    Write(content);
    EXPECT_FALSE(ApiKeys::Open(path_).ok());
  }
  ExpectRefused(File({Entry("a", "a", R"(, "weight": -1)")}), "keys[0]: \"weight\" is -1");
}

TEST_F(ApiKeysTest, WrongTenantsAreRefused) {
  for (const std::string& tenant : {std::string(), std::string(65, 'a'), std::string("a b"),
                                    std::string("a/b"), std::string("é"), std::string("a\\n")}) {
    ExpectRefused(File({Entry("a", tenant)}), "keys[0]: \"tenant\"");
  }
  ExpectRefused(absl::StrCat(R"({"keys": [{"sha256": ")", HexDigest("a"), "\"}]}"), "\"tenant\"");
}

TEST_F(ApiKeysTest, WrongDigestsAreRefusedAndNotRepeated) {
  const std::string digest = HexDigest("a");
  for (const std::string& wrong : {std::string(), std::string("my-secret-key"), digest.substr(1),
                                   digest + "00", digest.substr(1) + "g", " " + digest.substr(1)}) {
    ExpectRefused(absl::StrCat(R"({"keys": [{"tenant": "a", "sha256": ")", wrong, "\"}]}"),
                  "\"sha256\" is not 64 hex digits");
    const auto keys = ApiKeys::Open(path_);
    EXPECT_THAT(std::string(keys.status().message()), Not(HasSubstr("my-secret-key")));
  }
}

TEST_F(ApiKeysTest, PathsThatAreRefused) {
  EXPECT_EQ(ApiKeys::Open(path_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ApiKeys::Open(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ApiKeys::Open("/dev/zero").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ApiKeysTest, AFileThatEverybodyMayWriteIsRefused) {
  Write(File({Entry("a", "a")}));
  chmod(path_.c_str(), 0666);
  const auto keys = ApiKeys::Open(path_);
  EXPECT_THAT(std::string(keys.status().message()), HasSubstr("chmod o-w"));
  chmod(path_.c_str(), 0664);
  EXPECT_TRUE(ApiKeys::Open(path_).ok());
}

TEST_F(ApiKeysTest, ANewVersionIsReadWithinASecond) {
  Write(File({Entry("old", "a")}));
  const auto keys = Open();
  EXPECT_TRUE(keys->Find("old").has_value());
  Replace(File({Entry("new", "b")}));
  now_ = now_.load() + std::chrono::milliseconds(999);
  EXPECT_TRUE(keys->Find("old").has_value()) << "the file is not read for every call";
  now_ = now_.load() + std::chrono::milliseconds(1);
  EXPECT_FALSE(keys->Find("old").has_value());
  EXPECT_TRUE(keys->Find("new").has_value());
  EXPECT_THAT(log_.str(), HasSubstr("1 API keys read again"));
}

// Same length.
TEST_F(ApiKeysTest, AFileRewrittenInPlaceAtOnceIsNoticed) {
  for (int i = 0; i < 20; ++i) {
    Write(File({Entry("one", "a")}));
    const auto keys = Open();
    Write(File({Entry("two", "a")}));
    PassASecond();
    EXPECT_FALSE(keys->Find("one").has_value());
    EXPECT_TRUE(keys->Find("two").has_value());
  }
}

TEST_F(ApiKeysTest, ABadVersionIsLoggedOnceAndTheOldKeysStay) {
  Write(File({Entry("old", "a")}));
  const auto keys = Open();
  std::filesystem::remove(path_);
  for (const char* bad : {"", "{", R"({"keys": [{"sha256": "secret", "tenant": "a"}]})"}) {
    if (*bad != '\0') Replace(bad);
    log_.str("");
    for (int i = 0; i < 3; ++i) {
      PassASecond();
      EXPECT_TRUE(keys->Find("old").has_value());
    }
    const std::string log = log_.str();
    EXPECT_THAT(log, AllOf(HasSubstr("API keys stay as they were"), HasSubstr(path_)));
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
    EXPECT_THAT(log, Not(HasSubstr("secret")));
  }
  Replace(File({Entry("new", "a")}));
  PassASecond();
  EXPECT_FALSE(keys->Find("old").has_value());
  EXPECT_TRUE(keys->Find("new").has_value());
}

TEST_F(ApiKeysTest, AVersionThatEverybodyMayWriteIsNotTaken) {
  Write(File({Entry("old", "a")}));
  const auto keys = Open();
  std::ofstream(path_ + ".new") << File({Entry("new", "a")});
  chmod((path_ + ".new").c_str(), 0666);
  std::filesystem::rename(path_ + ".new", path_);
  PassASecond();
  EXPECT_FALSE(keys->Find("new").has_value());
  chmod(path_.c_str(), 0600);
  PassASecond();
  EXPECT_TRUE(keys->Find("new").has_value());
}

TEST_F(ApiKeysTest, AnEmptiedListTakesEveryKeyBack) {
  Write(File({Entry("old", "a")}));
  const auto keys = Open();
  Replace(R"({"keys": []})");
  PassASecond();
  EXPECT_FALSE(keys->Find("old").has_value());
  EXPECT_THAT(log_.str(), HasSubstr("every caller is refused"));
}

TEST_F(ApiKeysTest, ManyThreadsFindWhileTheFileChanges) {
  Write(File({Entry("always", "a"), Entry("0", "b")}));
  const auto keys = Open();
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!done) EXPECT_TRUE(keys->Find("always").has_value());
    });
  }
  for (int i = 1; i <= 50; ++i) {
    Replace(File({Entry("always", "a"), Entry(absl::StrCat(i), "b")}));
    PassASecond();
    EXPECT_TRUE(keys->Find(absl::StrCat(i)).has_value());
    EXPECT_FALSE(keys->Find(absl::StrCat(i - 1)).has_value());
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace sieve
