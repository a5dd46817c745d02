#include "trainer/rank_environment.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/match.h"

namespace sieve {
namespace {

using Variables = std::map<std::string, std::string>;

absl::StatusOr<RankEnvironment> Read(const Variables& variables) {
  return ReadRankEnvironment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(RankEnvironment, WithoutAnyItIsAProcessOfItsOwn) {
  for (const Variables& variables :
       {Variables{}, Variables{{"RANK", ""}, {"WORLD_SIZE", "4"}}, Variables{{"MASTER_ADDR", "a"}},
        Variables{{"RANK", "0"}, {"WORLD_SIZE", "1"}},
        Variables{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}}) {
    const auto read = Read(variables);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->rank, 0);
    EXPECT_EQ(read->ranks, 1);
  }
}

TEST(RankEnvironment, Torchrun) {
  Variables variables = {{"RANK", "5"},
                         {"WORLD_SIZE", "8"},
                         {"LOCAL_RANK", "1"},
                         {"MASTER_ADDR", "node"},
                         {"MASTER_PORT", "123"},
                         // Within a job of Slurm, the nearer one counts.
                         {"SLURM_PROCID", "1"},
                         {"SLURM_NTASKS", "2"}};
  auto read = Read(variables);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->rank, 5);
  EXPECT_EQ(read->ranks, 8);
  EXPECT_EQ(read->local_rank, 1);
  EXPECT_EQ(read->address, "node");
  EXPECT_EQ(read->port, 123);
  EXPECT_FALSE(read->is_served);
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  variables["TORCHELASTIC_RESTART_COUNT"] = "2";
  read = Read(variables);
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->is_served);
  EXPECT_EQ(read->attempt, "2");
}

TEST(RankEnvironment, Slurm) {
  Variables variables = {{"SLURM_PROCID", "3"},
                         {"SLURM_NTASKS", "4"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7"}};
  auto read = Read(variables);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->rank, 3);
  EXPECT_EQ(read->ranks, 4);
  EXPECT_EQ(read->local_rank, 1);
  EXPECT_EQ(read->address, "10.0.0.7");
  EXPECT_EQ(read->port, 29500);
  variables["MASTER_ADDR"] = "node1";
  read = Read(variables);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->address, "node1");
}

TEST(RankEnvironment, AnIndexedJobOfKubernetes) {
  const auto read =
      Read({{"JOB_COMPLETION_INDEX", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "job-0.workers"}});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->rank, 1);
  EXPECT_EQ(read->ranks, 2);
  EXPECT_EQ(read->local_rank, 0);
  EXPECT_EQ(read->address, "job-0.workers");
}

TEST(RankEnvironment, WhatIsWrongIsNamed) {
  const struct {
    Variables variables;
    const char* part;
  } cases[] = {
      {{{"RANK", "0"}}, "WORLD_SIZE"},
      {{{"JOB_COMPLETION_INDEX", "0"}}, "WORLD_SIZE"},
      {{{"SLURM_PROCID", "0"}}, "SLURM_NTASKS"},
      {{{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}, "RANK"},
      {{{"RANK", "-1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}, "RANK"},
      {{{"RANK", "x"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}, "RANK"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "0"}, {"MASTER_ADDR", "a"}}, "WORLD_SIZE"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}}, "MASTER_ADDR"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}},
       "MASTER_PORT"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"LOCAL_RANK", "q"}},
       "LOCAL_RANK"},
  };
  for (const auto& c : cases) {
    const auto read = Read(c.variables);
    ASSERT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << c.part;
    EXPECT_TRUE(absl::StrContains(read.status().message(), c.part)) << read.status();
  }
}

}  // namespace
}  // namespace sieve
