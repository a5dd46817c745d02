#include "client/bench/bench.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <utility>
#include <vector>

#include "client/bench/clipped_workload.h"
#include "client/bench/prompt.h"
#include "client/bench/report.h"
#include "client/bench/runner.h"
#include "client/bench/workload.h"

namespace sieve {
namespace {

grpc::Status GetModel(const Session& session, v1::Generation::StubInterface* stub,
                      v1::GetModelResponse* model) {
  return Call(session, [&](grpc::ClientContext* context) {
    return stub->GetModel(context, v1::GetModelRequest(), model);
  });
}

int64_t NanosOr(const std::optional<absl::Duration>& duration, int64_t absent) {
  return duration ? absl::ToInt64Nanoseconds(*duration) : absent;
}

Runner::Config ConfigOf(const BenchOptions& options) {
  Runner::Config config;
  config.request.mutable_stop()->set_ignore_eos(true);
  config.request.mutable_sampling()->set_temperature(options.temperature);
  if (options.priority) config.request.set_priority(*options.priority);
  config.tenants = options.tenants.names;
  config.concurrency = options.concurrency;
  config.max_requests = options.requests;
  config.window.begin = absl::ToInt64Nanoseconds(options.warmup);
  config.window.end = NanosOr(options.duration, kNever);
  config.drain_timeout = absl::ToInt64Nanoseconds(options.drain_timeout);
  config.timeout = options.timeout;
  config.max_in_flight = options.max_in_flight;
  return config;
}

ClippedWorkload::Limits LimitsOf(const BenchOptions& options, const v1::GetModelResponse& model) {
  ClippedWorkload::Limits limits;
  limits.context_tokens = std::max(2, model.limits().max_context_tokens());
  limits.prompt_tokens = limits.context_tokens - 1;
  for (const int32_t most : {options.max_prompt_tokens, model.limits().max_prompt_tokens()}) {
    if (most > 0) limits.prompt_tokens = std::min(limits.prompt_tokens, most);
  }
  limits.generated_tokens = options.max_generated_tokens > 0 ? options.max_generated_tokens
                                                             : std::numeric_limits<int32_t>::max();
  return limits;
}

// Connected stubs and what they are used for.
class Bench {
 public:
  Bench(const Session& session, const BenchOptions& options)
      : session_(session), options_(options) {}

  grpc::Status Connect(const sieve::Connect& connect);
  // One run; `rate` 0: a closed loop.
  BenchRun Run(double rate, int index);
  // Prints the run, and appends it to the output file; false when that failed.
  bool Report(const BenchRun& run);

 private:
  const Session& session_;
  const BenchOptions& options_;
  std::vector<std::unique_ptr<v1::Generation::StubInterface>> stubs_;
  v1::GetModelResponse model_;
};

// A call on each connection makes it before it is measured.
grpc::Status Bench::Connect(const sieve::Connect& connect) {
  for (int i = 0; i < options_.connections; ++i) {
    absl::StatusOr<std::unique_ptr<v1::Generation::StubInterface>> stub = connect();
    if (!stub.ok()) {
      return {static_cast<grpc::StatusCode>(stub.status().code()),
              std::string(stub.status().message())};
    }
    stubs_.push_back(*std::move(stub));
    const grpc::Status status = GetModel(session_, stubs_.back().get(), &model_);
    if (!status.ok()) return status;
  }
  if (model_.shape().vocabulary_size() < 1) {
    return {grpc::StatusCode::INTERNAL, "the server says that its vocabulary is empty"};
  }
  return grpc::Status::OK;
}

BenchRun Bench::Run(double rate, int index) {
  BenchRun run;
  run.options = options_;
  run.rate = rate;
  run.model = model_;
  Runner::Config config = ConfigOf(options_);
  for (const auto& stub : stubs_) config.stubs.push_back(stub.get());
  Objective objective;
  objective.first_token = NanosOr(options_.slo_ttft, kNever);
  objective.gap = NanosOr(options_.slo_itl, kNever);
  objective.end_to_end = NanosOr(options_.slo_e2e, kNever);
  const double arrival_rate = rate > 0 ? rate : std::numeric_limits<double>::infinity();
  ClippedWorkload workload(MakeSyntheticWorkload(options_, arrival_rate, index),
                           LimitsOf(options_, model_));
  const PromptMaker prompts(options_.seed, index, model_.shape().vocabulary_size());
  Runner runner(config, prompts, objective);
  const Interrupt::Scope scope(session_.interrupt, [&runner] { runner.Stop(); });
  run.measurements = runner.Run(&workload);
  run.clipped = workload.clipped();
  return run;
}

bool Bench::Report(const BenchRun& run) {
  PrintTable(run, *session_.err);
  const std::string line =
      ToJson(run).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (session_.json) *session_.out << line << std::endl;
  if (options_.output.empty()) return true;
  std::ofstream file(options_.output, std::ios::app);
  file << line << std::endl;
  if (!file) *session_.err << "sieve: cannot write " << options_.output << std::endl;
  return static_cast<bool>(file);
}

}  // namespace

ExitCode RunBench(const Session& session, const BenchOptions& options, const Connect& connect) {
  Bench bench(session, options);
  const grpc::Status status = bench.Connect(connect);
  if (!status.ok()) return Report(session, status);
  std::vector<double> rates = options.sweep;
  if (rates.empty()) rates.push_back(options.rate.value_or(0));
  for (size_t i = 0; i < rates.size(); ++i) {
    const BenchRun run = bench.Run(rates[i], static_cast<int>(i));
    if (!bench.Report(run)) return ExitCode::kUsage;
    if (run.measurements.interrupted) return ExitCode::kInterrupted;
  }
  return ExitCode::kOk;
}

}  // namespace sieve
