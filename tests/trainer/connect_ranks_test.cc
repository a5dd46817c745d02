#include "trainer/connect_ranks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/trainer/processes.h"

namespace sieve {
namespace {

using Texts = std::vector<std::string>;

RankEnvironment Environment(int rank, int ranks, int port) {
  return {.rank = rank,
          .ranks = ranks,
          .local_rank = rank,
          .address = "127.0.0.1",
          .port = port,
          .is_served = false,
          .attempt = ""};
}

// What `body` says on each of the ranks.
Texts OnRanks(int count, absl::Duration timeout, const std::function<std::string(Ranks&)>& body) {
  const int port = FreePort();
  return RunProcesses(count, [&](int rank) {
    const auto ranks = ConnectRanks(Environment(rank, count, port), at::kCPU, timeout);
    return ranks.ok() ? body(**ranks) : ranks.status().ToString();
  });
}

std::string Text(const at::Tensor& tensor) {
  std::string text;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", tensor[i].item<double>());
  }
  return text;
}

TEST(ConnectRanks, SumsAndShares) {
  for (const int count : {2, 3}) {
    const Texts texts = OnRanks(count, absl::Seconds(30), [](Ranks& ranks) -> std::string {
      const double own[] = {1.5, -2.0 * ranks.rank(), 1e-9};
      const at::Tensor sum = at::empty({3}, at::kDouble);
      std::copy_n(own, 3, sum.data_ptr<double>());
      const at::Tensor shared = at::full({2}, 7.0f + ranks.rank(), at::kFloat);
      absl::Status status = ranks.Sum(sum);
      status.Update(ranks.Share(shared));
      status.Update(ranks.Meet());
      if (!status.ok()) return status.ToString();
      return absl::StrCat(ranks.size(), ": ", Text(sum), ", ", Text(shared));
    });
    const std::string expected = count == 2 ? "2: 3 -2 2e-09, 7 7" : "3: 4.5 -6 3e-09, 7 7";
    EXPECT_EQ(texts, Texts(count, expected));
  }
}

TEST(ConnectRanks, AProcessOfItsOwnNeedsNobody) {
  const auto ranks = ConnectRanks({}, at::kCPU, absl::Seconds(1));
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  EXPECT_EQ((*ranks)->size(), 1);
  EXPECT_TRUE((*ranks)->Meet().ok());
}

TEST(ConnectRanks, OneThatEndsIsNoticedAtOnce) {
  const absl::Time begin = absl::Now();
  const Texts texts = OnRanks(2, absl::Seconds(60), [](Ranks& ranks) -> std::string {
    const at::Tensor tensor = at::full({3}, 1.0, at::kFloat);
    EXPECT_TRUE(ranks.Sum(tensor).ok());
    if (ranks.rank() == 1) _exit(9);
    return ranks.Sum(tensor).ToString();
  });
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30));
  EXPECT_EQ(texts[1], "(ended)");
  EXPECT_TRUE(absl::StrContains(texts[0], "UNAVAILABLE")) << texts[0];
  EXPECT_TRUE(absl::StrContains(texts[0], "rank 0 of 2")) << texts[0];
}

TEST(ConnectRanks, OneThatHangsIsGivenUp) {
  const Texts texts = OnRanks(2, absl::Seconds(2), [](Ranks& ranks) -> std::string {
    const at::Tensor tensor = at::full({3}, 1.0, at::kFloat);
    if (ranks.rank() == 1) absl::SleepFor(absl::Seconds(6));
    return ranks.Sum(tensor).ToString();
  });
  EXPECT_TRUE(absl::StrContains(texts[0], "UNAVAILABLE")) << texts[0];
  EXPECT_TRUE(absl::StrContains(texts[1], "UNAVAILABLE")) << texts[1];
}

TEST(ConnectRanks, OneThatNeverComesIsGivenUp) {
  const int port = FreePort();
  for (const int rank : {0, 1}) {
    const Texts texts = RunProcesses(1, [&](int) {
      return ConnectRanks(Environment(rank, 2, port), at::kCPU, absl::Seconds(2))
          .status()
          .ToString();
    });
    EXPECT_TRUE(absl::StrContains(texts[0], "UNAVAILABLE")) << texts[0];
    EXPECT_TRUE(absl::StrContains(texts[0], absl::StrCat("127.0.0.1:", port))) << texts[0];
  }
}

}  // namespace
}  // namespace sieve
