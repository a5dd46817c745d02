#include "server/metrics.h"

#include <string>

#include "model/version.h"
#include "prometheus/gauge.h"

namespace sieve {
namespace {

using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// Upper bounds in seconds. The first of each is below what a small model on a fast machine takes:
// what falls into the first bucket cannot be told apart.
Buckets FirstTokenBuckets() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
          0.5,    1,     2.5,    5,     10,   20,    30,   60};
}

Buckets InterTokenBuckets() {
  return {0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005,
          0.01,    0.02,   0.05,    0.1,   0.2,    0.5,   1};
}

// Whole requests last longer than their first token.
Buckets RequestBuckets() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
          1,      2.5,   5,      10,    20,   30,    60,   120, 300,  600};
}

Buckets StepBuckets() {
  return {0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
          0.025,   0.05,     0.1,     0.25,   0.5,     1,      2.5,   5,      10};
}

// first, 2 first, 4 first ... last.
Buckets PowersOfTwo(double first, double last) {
  Buckets buckets;
  for (double bound = first; bound <= last; bound *= 2) buckets.push_back(bound);
  return buckets;
}

// From nothing at all.
Buckets OutputBuckets() {
  Buckets buckets = PowersOfTwo(1, 1 << 17);
  buckets.insert(buckets.begin(), 0);
  return buckets;
}

Histogram& AddHistogram(prometheus::Registry& registry, const std::string& name,
                        const std::string& help, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

prometheus::Family<prometheus::Counter>& AddCounters(prometheus::Registry& registry,
                                                     const std::string& name,
                                                     const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

std::string CodeName(int code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

#ifdef __clang__
constexpr char kCompiler[] = "clang++ " __clang_version__;
#else
constexpr char kCompiler[] = "g++ " __VERSION__;
#endif

void AddBuildInfo(prometheus::Registry& registry) {
  prometheus::BuildGauge()
      .Name("sieve_build_info")
      .Help("Version of the server and the compiler that built it; always 1.")
      .Register(registry)
      .Add({{"version", std::string(kVersion)}, {"compiler", kCompiler}})
      .Set(1);
}

}  // namespace

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      time_to_first_token_(AddHistogram(*registry_, "sieve_time_to_first_token_seconds",
                                        "Seconds from a request's arrival to its first token.",
                                        FirstTokenBuckets())),
      inter_token_(AddHistogram(*registry_, "sieve_inter_token_latency_seconds",
                                "Seconds between two tokens of a sample.", InterTokenBuckets())),
      queue_(AddHistogram(*registry_, "sieve_request_queue_seconds",
                          "Seconds from a request's arrival until it first took part in a step, "
                          "or ended before.",
                          RequestBuckets())),
      prefill_(AddHistogram(*registry_, "sieve_request_prefill_seconds",
                            "Seconds from a request's first step to its first token, or its end "
                            "before; only of requests that were scheduled.",
                            RequestBuckets())),
      decode_(AddHistogram(*registry_, "sieve_request_decode_seconds",
                           "Seconds from a request's first token to its end; only of requests that "
                           "had one.",
                           RequestBuckets())),
      end_to_end_(AddHistogram(*registry_, "sieve_request_seconds",
                               "Seconds from a request's arrival to its end, whatever its code.",
                               RequestBuckets())),
      prompt_tokens_(AddHistogram(*registry_, "sieve_request_prompt_tokens",
                                  "Prompt tokens of a request.", PowersOfTwo(1, 1 << 17))),
      output_tokens_(AddHistogram(*registry_, "sieve_request_output_tokens",
                                  "Tokens generated for a request, all samples together.",
                                  OutputBuckets())),
      cache_bytes_(AddHistogram(*registry_, "sieve_request_kv_bytes",
                                "Most bytes of the key/value cache that a request held; only of "
                                "requests that were scheduled.",
                                PowersOfTwo(1 << 16, 68719476736.0))),
      batch_sequences_(AddHistogram(*registry_, "sieve_engine_batch_sequences",
                                    "Sequences (samples) in a step.", PowersOfTwo(1, 1024))),
      batch_tokens_(AddHistogram(*registry_, "sieve_engine_batch_tokens",
                                 "Tokens in a step, of prompts and generated ones.",
                                 PowersOfTwo(1, 16384))) {
  auto& steps = prometheus::BuildHistogram()
                    .Name("sieve_engine_step_seconds")
                    .Help(
                        "Seconds of a step by phase: plan (what to run), forward (the model, "
                        "drawing tokens), sample (handing them out). Their counts are equal.")
                    .Register(*registry_);
  plan_ = &steps.Add({{"phase", "plan"}}, StepBuckets());
  forward_ = &steps.Add({{"phase", "forward"}}, StepBuckets());
  sample_ = &steps.Add({{"phase", "sample"}}, StepBuckets());

  auto& requests = AddCounters(*registry_, "sieve_requests_total",
                               "Generation requests that ended or were refused, by gRPC status "
                               "code.");
  auto& wasted = AddCounters(*registry_, "sieve_wasted_tokens_total",
                             "Tokens generated by requests that did not end OK, by their code.");
  for (int code = 0; code < kNumCodes; ++code) {
    requests_[code] = &requests.Add({{"code", CodeName(code)}});
    if (code > 0) wasted_tokens_[code] = &wasted.Add({{"code", CodeName(code)}});
  }
  auto& rejections = AddCounters(*registry_, "sieve_admission_rejections_total",
                                 "Requests that were refused before they were queued, by reason.");
  for (int i = 0; i < kNumRefusalReasons; ++i) {
    const std::string reason(NameOf(static_cast<RefusalReason>(i)));
    rejections_[i] = &rejections.Add({{"reason", reason}});
  }
  auto& expiries = AddCounters(*registry_, "sieve_deadline_expiries_total",
                               "Requests whose deadline passed, by how far they were.");
  const char* const phases[kNumPhases] = {"queue", "prefill", "decode"};  // as RequestPhase
  for (int i = 0; i < kNumPhases; ++i) {
    deadline_expiries_[i] = &expiries.Add({{"phase", phases[i]}});
  }
  AddBuildInfo(*registry_);
}

void Metrics::OnStep(const StepRecord& step) {
  plan_->Observe(absl::ToDoubleSeconds(step.plan));
  forward_->Observe(absl::ToDoubleSeconds(step.forward));
  sample_->Observe(absl::ToDoubleSeconds(step.sample));
  batch_sequences_.Observe(static_cast<double>(step.sequences));
  batch_tokens_.Observe(static_cast<double>(step.prefill_tokens + step.decode_tokens));
}

void Metrics::OnFirstToken(absl::Duration time_to_first_token) {
  time_to_first_token_.Observe(absl::ToDoubleSeconds(time_to_first_token));
}

void Metrics::OnInterToken(absl::Duration gap) { inter_token_.Observe(absl::ToDoubleSeconds(gap)); }

void Metrics::OnEnd(const RequestRecord& record) {
  CountEnd(record.status);
  if (!record.status.ok()) {
    const int code = static_cast<int>(record.status.code());
    wasted_tokens_[code]->Increment(static_cast<double>(record.generated_tokens));
  }
  if (absl::IsDeadlineExceeded(record.status)) {
    deadline_expiries_[static_cast<int>(record.phase)]->Increment();
  }
  queue_.Observe(absl::ToDoubleSeconds(record.queue));
  end_to_end_.Observe(absl::ToDoubleSeconds(record.end_to_end));
  prompt_tokens_.Observe(record.prompt_tokens);
  output_tokens_.Observe(static_cast<double>(record.generated_tokens));
  if (record.phase == RequestPhase::kQueue) return;
  prefill_.Observe(absl::ToDoubleSeconds(record.prefill));
  cache_bytes_.Observe(static_cast<double>(record.peak_cache_bytes));
  if (record.phase == RequestPhase::kPrefill) return;
  decode_.Observe(absl::ToDoubleSeconds(record.decode));
}

void Metrics::OnRefused(const absl::Status& status) {
  CountEnd(status);
  rejections_[static_cast<int>(ReasonOf(status))]->Increment();
}

void Metrics::CountEnd(const absl::Status& status) {
  requests_[static_cast<int>(status.code())]->Increment();
}

}  // namespace sieve
