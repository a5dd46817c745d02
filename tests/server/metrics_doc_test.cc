// docs/metrics.md lists what a scrape answers: this test makes its tables from one.

#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics.h"
#include "server/metrics_server.h"
#include "server/process_collector.h"
#include "server/snapshot_collector.h"
#include "tests/server/scrape.h"

namespace sieve {
namespace {

struct Family {
  std::string type, help;
  std::map<std::string, std::set<std::string>> labels;  // their values; le is below
  std::vector<std::string> bounds;                      // of the first series, without +Inf
};

// The labels of a line such as `name_bucket{phase="plan",le="0.5"} 3`.
void AddLabels(const std::string& line, Family* family) {
  const std::string inside = line.substr(line.find('{') + 1, line.rfind('}') - line.find('{') - 1);
  static const std::regex label("([a-z_]+)=\"([^\"]*)\"");
  for (std::sregex_iterator it(inside.begin(), inside.end(), label), end; it != end; ++it) {
    const std::string name = (*it)[1], value = (*it)[2];
    if (name != "le") {
      family->labels[name].insert(value);
    } else if (value != "+Inf" && !absl::c_linear_search(family->bounds, value)) {
      family->bounds.push_back(value);
    }
  }
}

std::map<std::string, Family> Parse(const std::string& scrape) {
  std::map<std::string, Family> families;
  Family* family = nullptr;
  const std::vector<std::string> lines = absl::StrSplit(scrape, '\n');
  for (const std::string& line : lines) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    if (absl::StartsWith(line, "# HELP ")) {
      family = &families[words[2]];
      family->help = words[3];
    } else if (absl::StartsWith(line, "# TYPE ")) {
      families[words[2]].type = words[3];
    } else if (family != nullptr && absl::StrContains(line, "{")) {
      AddLabels(line, family);
    }
  }
  return families;
}

std::string UnitOf(absl::string_view name) {
  absl::ConsumeSuffix(&name, "_total");
  const std::pair<const char*, const char*> units[] = {
      {"_tokens_per_second", "tokens/s"},
      {"_bytes_per_token", "bytes/token"},
      {"_seconds", "seconds"},
      {"_latencies", "microseconds"},
      {"_bytes", "bytes"},
      {"_ratio", "ratio"},
      {"_tokens", "tokens"},
      {"_pages", "pages"},
      {"_sequences", "sequences"},
      {"_requests_running", "sequences"},
      {"_requests_waiting", "requests"},
      {"_requests_queued", "requests"},
      {"_requests", "requests"},
      {"_rejections", "requests"},
      {"_expiries", "requests"},
      {"_queries", "requests"},
      {"_hits", "requests"},
      {"_keys", "keys"},
      {"_preemptions", "times"},
      {"_lines_dropped", "lines"},
      {"_fds", "descriptors"},
      {"_threads", "threads"},
      {"_scrapes", "scrapes"},
      {"_adapter_requests_info", "Unix time"},
      {"_adapters_loaded", "adapters"},
      {"_info", "always 1"},
      {"_draining", "0 or 1"},
  };
  for (const auto& [suffix, unit] : units) {
    if (absl::EndsWith(name, suffix)) return unit;
  }
  ADD_FAILURE() << name << " does not tell its unit";
  return "";
}

std::string LabelsOf(const std::string& name, const Family& family) {
  std::vector<std::string> labels;
  for (auto [label, values] : family.labels) {
    if (values.erase("") > 0) values.insert("\"\"");
    // Those of an info metric say something of this server.
    labels.push_back(absl::EndsWith(name, "_info")
                         ? absl::StrCat("`", label, "`")
                         : absl::StrCat("`", label, "`: ", absl::StrJoin(values, ", ")));
  }
  return absl::StrJoin(labels, "; ");
}

std::string MetricTable(const std::map<std::string, Family>& families) {
  std::string table = "| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n";
  for (const auto& [name, family] : families) {
    absl::StrAppend(&table, "| `", name, "` | ", family.type, " | ", LabelsOf(name, family), " | ",
                    UnitOf(name), " | ", family.help, " |\n");
  }
  return table + "\n";
}

std::string BucketTable(const std::map<std::string, Family>& families) {
  std::string table = "| histogram | upper bounds of its buckets |\n|---|---|\n";
  for (const auto& [name, family] : families) {
    if (family.type != "histogram") continue;
    absl::StrAppend(&table, "| `", name, "` | ", absl::StrJoin(family.bounds, ", "), " |\n");
  }
  return table + "\n";
}

class MetricsDocTest : public testing::Test {
 protected:
  MetricsDocTest() {
    const auto server = MetricsServer::Start({.host = "127.0.0.1"},
                                             {metrics_.registry(),
                                              MakeSnapshotCollector(&model_,
                                                                    [] {
                                                                      MetricsSnapshot now;
                                                                      now.adapters.resize(1);
                                                                      now.adapters[0].name = "NAME";
                                                                      return now;
                                                                    }),
                                              MakeProcessCollector()})
                            .value();
    // The library's own figures are there from the second scrape on.
    Scrape(server->port());
    families_ = Parse(Scrape(server->port()));
    std::ifstream file("docs/metrics.md");
    document_ = std::string(std::istreambuf_iterator<char>(file), {});
  }

  const ModelInfo model_;
  Metrics metrics_;
  std::map<std::string, Family> families_;
  std::string document_;
};

TEST_F(MetricsDocTest, TheTablesAreThoseOfAScrape) {
  ASSERT_GT(families_.size(), 40);
  for (const std::string& table : {MetricTable(families_), BucketTable(families_)}) {
    EXPECT_TRUE(absl::StrContains(document_, table))
        << "docs/metrics.md should hold this table:\n\n"
        << table;
  }
}

TEST_F(MetricsDocTest, NamesFollowTheConvention) {
  for (const auto& [name, family] : families_) {
    EXPECT_THAT(name, testing::MatchesRegex("(sieve|process|exposer)_[a-z_]+"));
    EXPECT_EQ(family.type == "counter", absl::EndsWith(name, "_total")) << name;
    EXPECT_THAT(family.help, testing::EndsWith(absl::StartsWith(name, "exposer_") ? "" : "."));
    for (const auto& [label, values] : family.labels) {
      EXPECT_LE(values.size(), 17) << name << " has too many values of " << label;
      EXPECT_NE(label, "tenant") << name;
      EXPECT_NE(label, "request_id") << name;
    }
  }
}

// Prose speaks of nothing that does not exist.
TEST_F(MetricsDocTest, EveryNameInTheTextIsAMetric) {
  std::set<std::string> known;
  for (const auto& [name, family] : families_) {
    known.insert(name);
    if (family.type != "histogram") continue;
    for (const char* suffix : {"_bucket", "_sum", "_count"}) known.insert(name + suffix);
  }
  int count = 0;
  const std::regex metric("(sieve|process)_[a-z_]+");
  for (std::sregex_iterator it(document_.begin(), document_.end(), metric), end; it != end; ++it) {
    if (it->str() == "sieve_server") continue;
    EXPECT_TRUE(known.contains(it->str())) << it->str();
    ++count;
  }
  EXPECT_GT(count, 40);
}

}  // namespace
}  // namespace sieve
