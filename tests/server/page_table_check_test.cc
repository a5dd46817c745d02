#include "server/page_table_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/scheduler_driver.h"

namespace sieve {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int32_t> Prompt(int64_t length, int32_t first) {
  std::vector<int32_t> tokens(length);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Three requests that decode: a and b share a page of their prompts, c shares nothing.
class PageTableCheckTest : public testing::Test {
 protected:
  PageTableCheckTest() {
    driver_.Step();
    b_ = driver_.Add(Prompt(80, 0), 50);
    driver_.Step();
    c_ = driver_.Add(Prompt(80, 1000), 50);
    driver_.Step();
  }

  std::vector<int32_t>& Table(int64_t group) {
    return *driver_.scheduler().mutable_pages_for_test({group, 0});
  }

  // Groups that are found to be broken when `corrupt` runs between the plan and the check; what the
  // first one is said to have.
  std::vector<int64_t> Broken(const std::function<void()>& corrupt) {
    const StepPlan plan = driver_.scheduler().Plan(driver_.now());
    EXPECT_THAT(check_.Find(plan, driver_.scheduler()), IsEmpty());
    corrupt();
    std::vector<int64_t> groups;
    for (const BrokenTable& table : check_.Find(plan, driver_.scheduler())) {
      if (groups.empty()) what_ = table.what;
      groups.push_back(table.group);
    }
    driver_.scheduler().Discard(groups);
    return groups;
  }

  // After Discard of the broken ones the books are right, and nothing is lost once all ended.
  void ExpectHealed() {
    const PagePool& pool = driver_.scheduler().pool();
    EXPECT_EQ(pool.CheckConsistency(), "");
    const StepPlan plan = driver_.scheduler().Plan(driver_.now());
    EXPECT_THAT(check_.Find(plan, driver_.scheduler()), IsEmpty());
    for (const int64_t group : {a_, b_, c_}) driver_.scheduler().Cancel(group);
    EXPECT_EQ(pool.CheckConsistency(), "");
    EXPECT_EQ(pool.free_pages() + pool.cached_pages(), pool.num_pages());
  }

  SchedulerDriver driver_{{.max_step_tokens = 500, .max_running_sequences = 8}, 16};
  PageTableCheck check_;
  int64_t a_ = driver_.Add(Prompt(80, 0), 50);
  int64_t b_ = 0, c_ = 0;
  std::string what_;
};

TEST_F(PageTableCheckTest, APageOutsideThePool) {
  EXPECT_EQ(Broken([&] { Table(c_)[0] = -1; }), std::vector<int64_t>{c_});
  EXPECT_THAT(what_, HasSubstr("not one of the 16"));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, APageBeyondThePool) {
  EXPECT_EQ(Broken([&] { Table(a_)[1] = 16; }), std::vector<int64_t>{a_});
  EXPECT_THAT(what_, HasSubstr("page 16"));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, APageThatNobodyHolds) {
  EXPECT_EQ(Broken([&] { Table(c_)[1] = 15; }), std::vector<int64_t>{c_});
  EXPECT_THAT(what_, HasSubstr("has 0 references"));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, ASharedPageThatIsToBeWritten) {
  // c writes to the page that a and b share: then it is in more tables than it has references.
  EXPECT_EQ(Broken([&] { Table(c_)[1] = Table(a_)[0]; }), (std::vector<int64_t>{a_, b_, c_}));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, AWriterOfASharedPage) {
  // a takes the page it shares with b for its second one too, in exchange for nobody's.
  EXPECT_EQ(Broken([&] { std::swap(Table(a_)[0], Table(a_)[1]); }), std::vector<int64_t>{a_});
  EXPECT_THAT(what_, HasSubstr("to be written"));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, OnePageOfTwoWriters) {
  EXPECT_EQ(Broken([&] { Table(a_)[1] = Table(c_)[1]; }), (std::vector<int64_t>{a_, c_}));
  EXPECT_THAT(what_, HasSubstr("in 2 tables"));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, APageOfAnothersThatIsOnlyRead) {
  EXPECT_EQ(Broken([&] { Table(a_)[0] = Table(c_)[0]; }), (std::vector<int64_t>{a_, c_}));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, ATableThatIsTooShort) {
  EXPECT_EQ(Broken([&] { Table(c_).pop_back(); }), std::vector<int64_t>{c_});
  EXPECT_THAT(what_, HasSubstr("beyond the 1 pages"));
  ExpectHealed();
}

TEST_F(PageTableCheckTest, TheOthersGoOn) {
  Broken([&] { Table(c_)[0] = 99; });
  while (driver_.scheduler().running_sequences() > 0) {
    for (const Chunk& chunk : driver_.scheduler().Plan(driver_.now()).chunks) {
      driver_.scheduler().Begin(chunk);
      driver_.scheduler().Commit(chunk);
      driver_.scheduler().Append(chunk.sequence, 1);
      if (driver_.scheduler().tokens(chunk.sequence).size() == 130) {
        driver_.scheduler().Finish(chunk.sequence);
      }
    }
    ASSERT_EQ(driver_.scheduler().pool().CheckConsistency(), "");
  }
  ExpectHealed();
}

}  // namespace
}  // namespace sieve
