#include "trainer/study/grid.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr char kBase[] = R"({
  "run": {"corpus": [{"path": "a.txt"}], "seed": 3,
          "adapter": {"tail": true, "selected_blocks": 4}},
  "evaluation": {"texts": [{"name": "A", "path": "b.txt", "window": 100, "windows": 2}],
                 "selected_blocks": [2, 4]}
})";

constexpr char kGrid[] = R"({
  "base": "base.json", "title": "T",
  "run": {"seed": 4},
  "axes": [
    {"name": "tail", "variants": [{"name": "with"},
                                  {"name": "without", "run": {"adapter": {"tail": false}}}]},
    {"name": "tile", "variants": [{"name": "1"},
                                  {"name": "16", "run": {"adapter": {"query_tile": 16}}},
                                  {"name": "64", "run": {"adapter": {"query_tile": 64}}}]}
  ]
})";

absl::StatusOr<StudyGrid> Read(const std::string& base, const std::string& grid) {
  const std::string folder = testing::TempDir();
  std::ofstream(folder + "/base.json") << base;
  std::ofstream(folder + "/tails.json") << grid;
  return ReadStudyGrid(folder + "/tails.json", "/data");
}

TEST(StudyGrid, CellsAreAllCombinations) {
  const auto grid = Read(kBase, kGrid);
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->name, "tails");
  EXPECT_EQ(grid->title, "T");
  EXPECT_EQ(grid->axes, std::vector<std::string>({"tail", "tile"}));
  ASSERT_EQ(grid->cells.size(), 6);
  EXPECT_EQ(grid->cells[0].variants, std::vector<std::string>({"with", "1"}));
  EXPECT_EQ(grid->cells[4].variants, std::vector<std::string>({"without", "16"}));
  const auto& adapter = grid->cells[4].run.adapter;
  EXPECT_EQ(adapter["tail"], false);
  EXPECT_EQ(adapter["query_tile"], 16);
  EXPECT_EQ(adapter["selected_blocks"], 4);  // of the base: patches leave the rest as it is
  EXPECT_EQ(grid->cells[4].run.seed, 4);
  EXPECT_EQ(grid->cells[4].run.corpus[0].path, "/data/a.txt");
  EXPECT_EQ(grid->texts[0].path, "/data/b.txt");
  EXPECT_EQ(grid->selected_blocks, std::vector<int64_t>({2, 4}));
}

TEST(StudyGrid, WithoutAxesItIsOneCell) {
  const auto grid = Read("{}", kBase);
  ASSERT_TRUE(grid.ok()) << grid.status();
  ASSERT_EQ(grid->cells.size(), 1);
  EXPECT_TRUE(grid->cells[0].variants.empty());
}

TEST(StudyGrid, TheMeasurementIsPartOfACellsIdentity) {
  const auto grid = Read(kBase, kGrid);
  std::string other = kBase;
  other.replace(other.find("[2, 4]"), 6, "[2, 8]");
  const auto changed = Read(other, kGrid);
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_NE(grid->evaluation, changed->evaluation);
  EXPECT_EQ(grid->cells[1].run.text, changed->cells[1].run.text);
}

TEST(StudyGrid, TheCommittedOnesAreRead) {
  ModelConfig model;
  model.num_layers = 30;
  model.hidden_size = 576;
  model.num_heads = 9;
  model.num_kv_heads = 3;
  model.head_dim = 64;
  std::set<std::string> runs;
  for (const char* name :
       {"block_sizes", "combiner", "compression", "selectors", "tail", "tiles"}) {
    const auto grid = ReadStudyGrid(absl::StrCat("trainer/studies/", name, ".json"), "/data");
    ASSERT_TRUE(grid.ok()) << grid.status();
    EXPECT_GE(grid->cells.size(), 2) << name;
    for (const StudyCell& cell : grid->cells) {
      runs.insert(cell.run.text);
      const auto adapter = AdapterConfigFor(cell.run.adapter, model, std::string(64, '0'));
      EXPECT_TRUE(adapter.ok()) << name << ": " << adapter.status();
    }
  }
  // What they have in common is trained once: 10 whole runs, 2 of the selector, 7 calibrations.
  EXPECT_EQ(runs.size(), 19);
}

TEST(StudyGrid, WhatIsWrongIsNamed) {
  const struct {
    const char* from;
    const char* to;
    const char* part;
  } cases[] = {
      {"\"base\": \"base.json\"", "\"base\": \"none.json\"", "none.json"},
      {"\"title\"", "\"titel\"", "titel"},
      {"\"seed\": 4", "\"sead\": 4", "with, 1: unknown key \"sead\""},
      {"\"name\": \"16\"", "\"name\": \"1\"", "variant's name"},
      {"\"name\": \"tile\"", "\"nam\": \"tile\"", "nam"},
      {"{\"query_tile\": 64}", "1", "with, 64: adapter"},
      {"\"title\": \"T\"", "\"evaluation\": {\"texts\": []}", "texts"},
      {"\"title\": \"T\"", "\"evaluation\": {\"selected_blocks\": [-1]}", "selected_blocks"},
      {"\"title\": \"T\"", "\"evaluation\": {\"windows_at_once\": 0}", "windows_at_once"},
      {"\"title\": \"T\"", "\"evaluation\": {\"texts\": [{\"name\": \"A\"}]}", "path"},
      {"\"title\": \"T\"",
       "\"evaluation\": {\"texts\": [{\"name\": \"A\", \"path\": \"b\", \"window\": 1}]}",
       "window"},
  };
  for (const auto& c : cases) {
    std::string text = kGrid;
    text.replace(text.find(c.from), std::string(c.from).size(), c.to);
    const auto grid = Read(kBase, text);
    ASSERT_FALSE(grid.ok()) << c.to;
    EXPECT_TRUE(absl::StrContains(grid.status().message(), c.part)) << grid.status();
  }
}

}  // namespace
}  // namespace sieve
