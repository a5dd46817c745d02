// What watching costs the engine's thread: each callback of the observers in nanoseconds of the
// calling thread's processor time (which other programs disturb less than the clock's), alone and
// while another thread scrapes without a pause; and what a scrape costs. Prints one JSON line a
// measurement, the median and the range of several rounds.

#include <algorithm>
#include <atomic>
#include <ctime>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "server/log/async_log.h"
#include "server/metrics.h"
#include "server/observer_list.h"
#include "server/request_log.h"
#include "spdlog/sinks/null_sink.h"

ABSL_FLAG(int, rounds, 9, "of each measurement");

namespace sieve {
namespace {

double Nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Nanoseconds a call, of each round.
std::vector<double> Measure(int calls, const std::function<void(int)>& call) {
  std::vector<double> rounds;
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const double begin = Nanoseconds();
    for (int i = 0; i < calls; ++i) call(i);
    rounds.push_back((Nanoseconds() - begin) / calls);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds;
}

void Print(const std::string& what, bool scraped, const std::vector<double>& rounds) {
  std::cout << nlohmann::json{{"measurement", "observer"},
                              {"what", what},
                              {"scraped_meanwhile", scraped},
                              {"unit", "ns"},
                              {"median", rounds[rounds.size() / 2]},
                              {"least", rounds.front()},
                              {"most", rounds.back()},
                              {"rounds", rounds.size()}}
            << std::endl;
}

std::string Scrape(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
}

class Bench {
 public:
  Bench() {
    observers_.Add(&metrics_);
    request_.id = "0123456789abcdef";
    request_.tenant = "somebody";
    request_.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  }

  void MeasureAll(bool scraped) {
    std::atomic<bool> stop = false;
    std::thread scraper([&] {
      while (scraped && !stop) Scrape(metrics_);
    });
    Print("OnInterToken", scraped, Measure(200000, [this](int i) {
            observers_.OnInterToken(absl::Microseconds(i % 30000));
          }));
    Print("OnStep", scraped, Measure(50000, [this](int i) {
            StepRecord step;
            step.plan = absl::Microseconds(10 + i % 50);
            step.forward = absl::Microseconds(5000 + i % 9000);
            step.sample = absl::Microseconds(100 + i % 500);
            step.sequences = i % 64;
            step.decode_tokens = i % 64;
            observers_.OnStep(step);
          }));
    Print("OnEnd", scraped, Measure(20000, [this](int) { End(&observers_); }));
    stop = true;
    scraper.join();
  }

  void MeasureRequestLine(LogFormat format) {
    AsyncLog log(std::make_shared<spdlog::sinks::null_sink_mt>(), format, spdlog::level::info,
                 4096);
    RequestLog requests(format, log.request_log());
    Print(format == LogFormat::kJson ? "request line, json" : "request line, text", false,
          Measure(5000, [&](int) { End(&requests); }));
  }

  void MeasureScrape() {
    Print("scrape of the registry", false, Measure(200, [this](int) { Scrape(metrics_); }));
  }

 private:
  void End(EngineObserver* observer) {
    RequestRecord record{.request = request_, .status = status_};
    record.phase = RequestPhase::kDecode;
    record.prompt_tokens = 300;
    record.generated_tokens = 128;
    record.queue = absl::Milliseconds(3);
    record.prefill = absl::Milliseconds(47);
    record.decode = absl::Milliseconds(1234);
    record.end_to_end = absl::Milliseconds(1284);
    record.time_to_first_token = absl::Milliseconds(50);
    record.peak_cache_bytes = 10 << 20;
    record.page_seconds = 12.345;
    observer->OnEnd(record);
  }

  Metrics metrics_;
  ObserverList observers_;
  GenerationRequest request_;
  const absl::Status status_;
};

int Main() {
  Bench bench;
  bench.MeasureAll(/*scraped=*/false);
  bench.MeasureAll(/*scraped=*/true);
  bench.MeasureRequestLine(LogFormat::kJson);
  bench.MeasureRequestLine(LogFormat::kText);
  bench.MeasureScrape();
  return 0;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return sieve::Main();
}
