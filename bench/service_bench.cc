// Streams through a running server, closed loop: for each number of streams, that many requests at
// once. Prints one JSON line a measurement. Prompts are distinct token ids, so that no prefix is
// found in the cache.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "sieve/v1/generation.grpc.pb.h"

ABSL_FLAG(std::string, server, "127.0.0.1:50051", "address of the server");
ABSL_FLAG(std::vector<std::string>, streams, (std::vector<std::string>{"1", "8"}),
          "numbers of concurrent streams, measured turn about");
ABSL_FLAG(int, rounds, 3, "of each number of streams");
ABSL_FLAG(int, prompt_tokens, 32, "of each request");
ABSL_FLAG(int, generated_tokens, 128, "of each request");

namespace sieve {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// When each event with tokens came, and how many it had.
struct StreamTimes {
  double start = 0;
  std::vector<std::pair<double, int>> tokens;
};

StreamTimes RunStream(v1::Generation::Stub* stub, int seed) {
  grpc::ClientContext context;
  v1::GenerateRequest request;
  for (int i = 0; i < absl::GetFlag(FLAGS_prompt_tokens); ++i) {
    request.mutable_token_ids()->add_ids(1000 + (seed * 7919 + i * 104729) % 40000);
  }
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stop()->set_max_tokens(absl::GetFlag(FLAGS_generated_tokens));
  request.mutable_stop()->set_ignore_eos(true);
  StreamTimes times;
  times.start = Seconds();
  const auto reader = stub->Generate(&context, request);
  v1::GenerateEvent event;
  while (reader->Read(&event)) {
    if (event.has_delta()) times.tokens.emplace_back(Seconds(), event.delta().token_ids_size());
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) {
    std::cerr << "request failed: " << status.error_message() << "\n";
    std::exit(1);
  }
  return times;
}

double Percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(p * static_cast<double>(values.size() - 1))];
}

struct Round {
  double decode_rate;  // tokens/s while all streams decode
  std::vector<double> first_token_ms, gaps_ms;
};

Round RunRound(v1::Generation::Stub* stub, int streams, int* seed) {
  std::vector<StreamTimes> times(streams);
  std::vector<std::thread> threads;
  for (int s = 0; s < streams; ++s) {
    threads.emplace_back([&times, s, stub, id = (*seed)++] { times[s] = RunStream(stub, id); });
  }
  for (std::thread& t : threads) t.join();
  Round round;
  // From the last first token to the first last one, all streams are decoding.
  double begin = 0, end = 1e300;
  for (const StreamTimes& t : times) {
    begin = std::max(begin, t.tokens.front().first);
    end = std::min(end, t.tokens.back().first);
    round.first_token_ms.push_back((t.tokens.front().first - t.start) * 1e3);
    for (size_t i = 1; i < t.tokens.size(); ++i) {
      round.gaps_ms.push_back((t.tokens[i].first - t.tokens[i - 1].first) * 1e3);
    }
  }
  int64_t tokens = 0;
  for (const StreamTimes& t : times) {
    for (const auto& [when, count] : t.tokens) {
      if (when > begin && when <= end) tokens += count;
    }
  }
  round.decode_rate = static_cast<double>(tokens) / (end - begin);
  return round;
}

int Main() {
  const auto channel =
      grpc::CreateChannel(absl::GetFlag(FLAGS_server), grpc::InsecureChannelCredentials());
  const auto stub = v1::Generation::NewStub(channel);
  std::vector<int> counts;
  for (const std::string& s : absl::GetFlag(FLAGS_streams)) counts.push_back(std::stoi(s));
  int seed = static_cast<int>(std::chrono::system_clock::now().time_since_epoch().count() % 10007);
  for (int count : counts) RunRound(stub.get(), count, &seed);  // warms up
  std::vector<std::vector<Round>> rounds(counts.size());
  for (int r = 0; r < absl::GetFlag(FLAGS_rounds); ++r) {
    for (size_t i = 0; i < counts.size(); ++i) {
      rounds[i].push_back(RunRound(stub.get(), counts[i], &seed));
    }
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    std::vector<double> rates, first, gaps;
    for (const Round& r : rounds[i]) {
      rates.push_back(r.decode_rate);
      first.insert(first.end(), r.first_token_ms.begin(), r.first_token_ms.end());
      gaps.insert(gaps.end(), r.gaps_ms.begin(), r.gaps_ms.end());
    }
    std::cout << nlohmann::json{{"measurement", "service_decode"},
                                {"streams", counts[i]},
                                {"prompt_tokens", absl::GetFlag(FLAGS_prompt_tokens)},
                                {"generated_tokens", absl::GetFlag(FLAGS_generated_tokens)},
                                {"tokens_per_second", rates},
                                {"time_to_first_token_ms_median", Percentile(first, 0.5)},
                                {"inter_token_ms_median", Percentile(gaps, 0.5)},
                                {"inter_token_ms_p99", Percentile(gaps, 0.99)}}
              << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return sieve::Main();
}
