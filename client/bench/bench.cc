#include "client/bench/bench.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench/clipped_workload.h"
#include "client/bench/latency_curve.h"
#include "client/bench/prompt.h"
#include "client/bench/report.h"
#include "client/bench/runner.h"
#include "client/bench/trace.h"
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
  // `trace` may be empty: lengths and times are drawn then.
  Bench(const Session& session, const BenchOptions& options, const std::vector<TraceRow>& trace)
      : session_(session), options_(options), trace_(trace) {}

  grpc::Status Connect(const sieve::Connect& connect);
  // One run; `rate` 0: a closed loop, or a trace's own times.
  BenchRun Run(double rate, int index);
  // Prints the run, and appends it to the output file; false when that failed.
  bool Report(const BenchRun& run);

 private:
  std::unique_ptr<Workload> MakeWorkload(double rate, int index) const;

  const Session& session_;
  const BenchOptions& options_;
  const std::vector<TraceRow>& trace_;
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

std::unique_ptr<Workload> Bench::MakeWorkload(double rate, int index) const {
  if (!trace_.empty()) return MakeTraceWorkload(options_, trace_, rate, index);
  return MakeSyntheticWorkload(options_, rate > 0 ? rate : std::numeric_limits<double>::infinity(),
                               index);
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
  ClippedWorkload workload(MakeWorkload(rate, index), LimitsOf(options_, model_));
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
  return static_cast<bool>(file);
}

// The whole file or, when that fails, none.
bool WriteFile(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  if (file && std::rename(temporary.c_str(), path.c_str()) == 0) return true;
  std::remove(temporary.c_str());
  return false;
}

ExitCode WrongUsage(const Session& session, absl::string_view message) {
  *session.err << "sieve: " << message << std::endl;
  return ExitCode::kUsage;
}

}  // namespace

ExitCode RunBench(const Session& session, const BenchOptions& options, const Connect& connect) {
  absl::StatusOr<std::vector<TraceRow>> trace = std::vector<TraceRow>();
  if (!options.trace.empty()) trace = ReadTrace(options.trace);
  if (!trace.ok()) return WrongUsage(session, trace.status().message());
  if (!trace->empty() && trace->back().at_ns < absl::ToInt64Nanoseconds(options.trace_start)) {
    return WrongUsage(session, absl::StrCat(options.trace, ": no request after --trace_start"));
  }
  Bench bench(session, options, *trace);
  const grpc::Status status = bench.Connect(connect);
  if (!status.ok()) return Report(session, status);
  std::vector<double> rates = options.sweep;
  if (rates.empty()) rates.push_back(options.rate.value_or(0));
  std::vector<BenchRun> runs;
  for (const double rate : rates) {
    runs.push_back(bench.Run(rate, static_cast<int>(runs.size())));
    if (!bench.Report(runs.back())) {
      return WrongUsage(session, absl::StrCat("cannot write ", options.output));
    }
    if (runs.back().measurements.interrupted) return ExitCode::kInterrupted;
  }
  if (!options.svg.empty() && !WriteFile(options.svg, DrawLatencyCurve(runs))) {
    return WrongUsage(session, absl::StrCat("cannot write ", options.svg));
  }
  return ExitCode::kOk;
}

}  // namespace sieve
