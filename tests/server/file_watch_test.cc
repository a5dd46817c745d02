#include "server/file_watch.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() { std::ofstream(path_) << "one"; }
  ~FileWatchTest() override { std::filesystem::remove(path_); }

  FileWatch Watch(std::vector<std::string> paths) {
    return FileWatch(
        std::move(paths), [this] { return now_; }, [this] { return absl::Now() + skew_; });
  }
  // As by files that were written long ago.
  void AgeFiles() { skew_ += absl::Hours(1); }
  bool LaterChanged(FileWatch& watch) {
    now_ += std::chrono::seconds(1);
    return watch.MayHaveChanged();
  }

  const std::string path_ = absl::StrCat(testing::TempDir(), "/watched", getpid());
  std::chrono::steady_clock::time_point now_{};
  absl::Duration skew_;
};

TEST_F(FileWatchTest, AnOldFileThatStaysIsReadOnce) {
  AgeFiles();
  FileWatch watch = Watch({path_});
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(LaterChanged(watch));
}

TEST_F(FileWatchTest, EveryKindOfChangeIsSeen) {
  AgeFiles();
  FileWatch watch = Watch({path_, path_ + ".other"});
  std::ofstream(path_) << "longer than before";
  EXPECT_TRUE(LaterChanged(watch));
  EXPECT_FALSE(LaterChanged(watch));
  std::ofstream(path_ + ".new") << "longer than before";
  std::filesystem::rename(path_ + ".new", path_);
  EXPECT_TRUE(LaterChanged(watch));
  std::filesystem::permissions(path_, std::filesystem::perms::owner_read);
  EXPECT_TRUE(LaterChanged(watch));
  std::ofstream(path_ + ".other") << "new";
  EXPECT_TRUE(LaterChanged(watch));
  std::filesystem::remove(path_ + ".other");
  EXPECT_TRUE(LaterChanged(watch));
  EXPECT_FALSE(LaterChanged(watch));
}

TEST_F(FileWatchTest, ItLooksOnceASecond) {
  AgeFiles();
  FileWatch watch = Watch({path_});
  std::filesystem::remove(path_);
  now_ += std::chrono::milliseconds(999);
  EXPECT_FALSE(watch.MayHaveChanged());
  now_ += std::chrono::milliseconds(1);
  EXPECT_TRUE(watch.MayHaveChanged());
  EXPECT_FALSE(watch.MayHaveChanged());
}

// A file system whose clock ticks slowly gives two versions the same times.
TEST_F(FileWatchTest, AFileThatWasJustWrittenIsReadAgain) {
  skew_ = -absl::Hours(1);  // however slow this machine is
  FileWatch watch = Watch({path_});
  EXPECT_TRUE(LaterChanged(watch));
  EXPECT_TRUE(LaterChanged(watch));
  skew_ = absl::Hours(1);
  EXPECT_TRUE(LaterChanged(watch)) << "the look before was too early to be sure";
  EXPECT_FALSE(LaterChanged(watch));
}

}  // namespace
}  // namespace sieve
