// sieve_server: serves a Llama checkpoint over gRPC.

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "server/adapters/adapter_registry.h"
#include "server/caller.h"
#include "server/exposure.h"
#include "server/log/log_format.h"
#include "server/log/logging.h"
#include "server/server.h"
#include "server/server_config.h"
#include "server/stop_signals.h"
#include "server/tls_files.h"
#include "spdlog/spdlog.h"

ABSL_FLAG(std::string, model, "",
          "Checkpoint: a .gguf file, or a folder with config.json, *.safetensors and "
          "tokenizer.json. Required, or else --random_weights.");
ABSL_FLAG(
    std::string, random_weights, "",
    "Instead of --model, for measurements of speed: a config.json, whose model is served with "
    "random bf16 weights made at the start. Tokenizer files beside it are used; without any, "
    "a token is a byte.");
ABSL_FLAG(std::vector<std::string>, adapter, {},
          "Sparse-attention adapters to serve beside the bare model: NAME=FOLDER,... Requests name "
          "the one that they want.");
ABSL_FLAG(
    std::string, adapter_root, "",
    "Folder whose adapters may be loaded, and those loaded be unloaded, by calls; where there "
    "are API keys, with those that have \"admin\": true. Empty: by none.");
ABSL_FLAG(int64_t, max_adapter_mb, 4096,
          "Most memory for the weights of all adapters that are loaded or still in use, MiB of "
          "floats; 0: no limit. On a GPU the cache leaves room for as many in the model's type, at "
          "most a quarter of what is free, unless --kv_cache_mb is given.");
ABSL_FLAG(std::string, listen, "127.0.0.1:50051",
          "Address and port of gRPC; port 0: any free one.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9464",
          "Address and port of Prometheus metrics, at /metrics; empty: off.");
ABSL_FLAG(
    std::string, tls_cert, "",
    "PEM file of the certificate that gRPC is served with, then its intermediates; read again "
    "when it changes. With --tls_key.");
ABSL_FLAG(std::string, tls_key, "", "PEM file of its private key, without a passphrase.");
ABSL_FLAG(std::string, tls_client_ca, "",
          "PEM file of roots: clients must present a certificate that one of them signed.");
ABSL_FLAG(std::string, api_keys, "",
          "JSON file of the keys that may call, with their tenants; read again when it changes. "
          "SECURITY.md describes it; `sieve admin new-key` makes keys.");
ABSL_FLAG(std::string, model_root, "",
          "Refuse checkpoints that are not in this folder, with symbolic links followed.");
ABSL_FLAG(
    bool, insecure, false,
    "Listen without TLS where other machines can connect: whoever sees the traffic reads it.");
ABSL_FLAG(bool, metrics_public, false,
          "Serve metrics where other machines can connect. They have neither TLS nor keys.");
ABSL_FLAG(std::string, port_file, "",
          "When ready, write \"grpc=PORT metrics=PORT\" (0: off) to this file.");
ABSL_FLAG(int32_t, threads, 0, "Threads that compute; 0: one a core.");
ABSL_FLAG(int32_t, compute_nice, sieve::ServerConfig().compute_nice,
          "Added to the nice value of the threads that compute, so that calls are answered while "
          "they do; 0 to 19.");
ABSL_FLAG(std::string, device, "auto",
          "What computes: cpu, cuda, or auto: a CUDA device where there is one that can.");
ABSL_FLAG(int64_t, kv_cache_mb, 0,
          "MiB for the key/value cache; 0: 1024 on the CPU, on CUDA most of what is free.");
ABSL_FLAG(std::string, kv_type, "",
          "Type of keys and values in the cache, on CUDA also of weights and activations: f32, f16 "
          "or bf16; empty: f16 on the CPU, bf16 on CUDA.");
ABSL_FLAG(int64_t, max_step_tokens, 512, "Most tokens in one engine step.");
ABSL_FLAG(int32_t, max_running, sieve::Limits().max_running_sequences,
          "Most samples that decode together.");
ABSL_FLAG(int64_t, max_context, 0,
          "Tokens of prompt and output together; 0: what the model allows.");
ABSL_FLAG(int32_t, max_queued_requests, sieve::Limits().max_queued_requests,
          "Requests that may wait; more are answered RESOURCE_EXHAUSTED.");
ABSL_FLAG(int32_t, default_max_tokens, sieve::Limits().default_max_tokens,
          "Tokens to generate when a request does not say.");
ABSL_FLAG(int32_t, max_samples, sieve::Limits().max_samples, "Most samples of one request.");
ABSL_FLAG(int32_t, max_prompt_tokens, 0, "Longest prompt; 0: what the context allows.");
ABSL_FLAG(int64_t, max_queued_prompt_tokens, 0,
          "Prompt tokens of all requests that wait; 0: no limit but --max_queued_requests.");
ABSL_FLAG(int64_t, max_request_cache_mb, 0,
          "MiB of key/value cache that one request may need; 0: the whole cache.");
ABSL_FLAG(int32_t, max_stop_texts, sieve::Limits().max_stop_texts, "Most stop texts.");
ABSL_FLAG(int32_t, max_stop_text_bytes, sieve::Limits().max_stop_text_bytes,
          "Longest stop text, in bytes.");
ABSL_FLAG(int32_t, max_logit_bias, sieve::Limits().max_logit_bias_entries,
          "Most entries of a logit bias.");
ABSL_FLAG(int32_t, max_logprobs, sieve::Limits().max_logprobs,
          "Most alternatives with log-probabilities for each token.");
ABSL_FLAG(int32_t, max_message_bytes, sieve::Limits().max_request_bytes,
          "Largest message of a client; larger ones are answered RESOURCE_EXHAUSTED.");
ABSL_FLAG(int32_t, max_streams_per_connection, sieve::Limits().max_streams_per_connection,
          "Calls that one connection may have open.");
ABSL_FLAG(absl::Duration, max_connection_age, absl::InfiniteDuration(),
          "After so long a client is asked to connect again, which running calls do not notice: it "
          "then sees servers that are new under the name.");
ABSL_FLAG(absl::Duration, stalled_reader_timeout, sieve::Limits().stalled_reader_timeout,
          "A client that takes nothing of its stream for so long is given up.");
ABSL_FLAG(bool, refuse_late, false,
          "Refuse requests whose first token, by the measured rates, would come after their "
          "deadline.");
ABSL_FLAG(absl::Duration, drain_grace, absl::Seconds(30),
          "At SIGTERM or SIGINT, how long running streams may go on; a second signal stops at "
          "once.");
ABSL_FLAG(std::string, tenant_weights, "",
          "Shares of tenants that name themselves with x-sieve-tenant, as NAME=WEIGHT,...; those "
          "that are not listed have 1.");
ABSL_FLAG(std::string, log_level, "info", "debug, info, warn, error or off.");
ABSL_FLAG(std::string, log_format, "text", "text, or json: one object a line.");
ABSL_FLAG(bool, log_prompts, false,
          "Log prompts and completions too: they are what users said. Off unless asked for.");
ABSL_FLAG(bool, log_requests, true,
          "Log one line for each request that ends or is refused, without what it says.");

namespace sieve {
namespace {

constexpr int kExitError = 1;
constexpr int kExitBadFlags = 2;
constexpr int64_t kMany = 1 << 30;
// For the last lines of the log, when what they are written to is slow.
constexpr absl::Duration kFlushTimeout = absl::Seconds(2);
// Open calls beside those that wait and run: being read, or with a client that has not taken all.
constexpr int64_t kCallsAside = 1024;

// The flag library ends the process itself, with status 1 for a wrong flag and for --help alike.
bool parsing_flags = false;
bool help_wanted = false;

void ExitWhileParsing(int status, void*) {
  if (!parsing_flags || status == EXIT_SUCCESS) return;
  std::cout.flush();
  _exit(help_wanted ? EXIT_SUCCESS : kExitBadFlags);
}

absl::Status ParseFlags(int argc, char** argv) {
  absl::SetProgramUsageMessage("Serves a Llama checkpoint over gRPC.\n  sieve_server --model FILE");
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "server/main.cc");
  };
  absl::SetFlagsUsageConfig(usage);
  for (int i = 1; i < argc; ++i) help_wanted |= absl::StartsWith(argv[i], "--help");
  on_exit(ExitWhileParsing, nullptr);
  parsing_flags = true;
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  parsing_flags = false;
  if (arguments.size() == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"", arguments[1], "\""));
}

absl::Status CheckFlag(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, " is ", value, "; expected ", low, " to ", high));
}

absl::Status CheckDuration(absl::string_view name, absl::Duration value, absl::Duration least) {
  // Of years, clocks and timers know no end.
  constexpr absl::Duration kMost = absl::Hours(24 * 365);
  if (value >= least && value <= kMost) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", name, " is ", absl::FormatDuration(value),
                                                 "; expected ", absl::FormatDuration(least),
                                                 " to a year"));
}

absl::StatusOr<ListenAddress> AddressFlag(absl::string_view name, const std::string& value,
                                          const Protection& protection,
                                          absl::Status (*check)(const ListenAddress&,
                                                                const Protection&)) {
  absl::StatusOr<ListenAddress> address = ParseListenAddress(value);
  absl::Status status = address.status();
  if (status.ok()) status = check(*address, protection);
  if (status.ok()) return address;
  return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", status.message()));
}

// The value of a flag that was parsed, or the error with the flag's name.
template <typename T>
absl::StatusOr<T> FlagValue(absl::string_view name, absl::StatusOr<T> parsed) {
  if (parsed.ok()) return parsed;
  return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", parsed.status().message()));
}

// Each of these reads one group of flags; the first that is wrong is the error.

absl::Status ReadCheckpointFlags(ModelHostConfig* model) {
  const std::string config = absl::GetFlag(FLAGS_random_weights);
  model->path = absl::GetFlag(FLAGS_model);
  if (!model->path.empty() && !config.empty()) {
    return absl::InvalidArgumentError(
        "--model and --random_weights are both given; expected exactly one of them");
  }
  model->random_weights = !config.empty();
  if (model->random_weights) model->path = config;
  if (!model->path.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "--model is required: the checkpoint to serve; or --random_weights, exactly one of them");
}

absl::Status ReadAdapterFlags(ModelHostConfig* model) {
  model->adapter_root = absl::GetFlag(FLAGS_adapter_root);
  model->max_adapter_bytes = absl::GetFlag(FLAGS_max_adapter_mb) << 20;
  for (const std::string& entry : absl::GetFlag(FLAGS_adapter)) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (!IsAdapterName(parts.first) || parts.second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--adapter: \"", entry, "\"; expected NAME=FOLDER, a name of ", kAdapterNameRule));
    }
    model->adapters.push_back({parts.first, parts.second});
  }
  return absl::OkStatus();
}

absl::Status ReadModelFlags(ModelHostConfig* model) {
  if (absl::Status status = ReadCheckpointFlags(model); !status.ok()) return status;
  if (absl::Status status = ReadAdapterFlags(model); !status.ok()) return status;
  for (const absl::Status& status :
       {CheckFlag("threads", absl::GetFlag(FLAGS_threads), 0, 1024),
        CheckFlag("max_adapter_mb", absl::GetFlag(FLAGS_max_adapter_mb), 0, kMany),
        CheckFlag("kv_cache_mb", absl::GetFlag(FLAGS_kv_cache_mb), 0, kMany),
        CheckFlag("max_step_tokens", absl::GetFlag(FLAGS_max_step_tokens), 1, kMany),
        CheckFlag("max_context", absl::GetFlag(FLAGS_max_context), 0, kMany)}) {
    if (!status.ok()) return status;
  }
  model->root = absl::GetFlag(FLAGS_model_root);
  model->num_threads = absl::GetFlag(FLAGS_threads);
  model->cache_bytes = absl::GetFlag(FLAGS_kv_cache_mb) << 20;
  model->max_step_tokens = absl::GetFlag(FLAGS_max_step_tokens);
  model->context_length = absl::GetFlag(FLAGS_max_context);
  const absl::StatusOr<Device> device =
      FlagValue("device", ParseDevice(absl::GetFlag(FLAGS_device)));
  if (!device.ok()) return device.status();
  model->device = *device;
  const absl::StatusOr<std::optional<DType>> dtype =
      FlagValue("kv_type", ParseCacheType(absl::GetFlag(FLAGS_kv_type)));
  if (!dtype.ok()) return dtype.status();
  model->dtype = *dtype;
  return absl::OkStatus();
}

// What one request may ask for.
absl::Status ReadRequestLimitFlags(Limits* limits) {
  for (const absl::Status& status :
       {CheckFlag("default_max_tokens", absl::GetFlag(FLAGS_default_max_tokens), 1, kMany),
        CheckFlag("max_prompt_tokens", absl::GetFlag(FLAGS_max_prompt_tokens), 0, kMany),
        CheckFlag("max_samples", absl::GetFlag(FLAGS_max_samples), 1, 1024),
        CheckFlag("max_stop_texts", absl::GetFlag(FLAGS_max_stop_texts), 0, 1024),
        CheckFlag("max_stop_text_bytes", absl::GetFlag(FLAGS_max_stop_text_bytes), 1, 1 << 16),
        CheckFlag("max_logit_bias", absl::GetFlag(FLAGS_max_logit_bias), 0, 1 << 20),
        CheckFlag("max_logprobs", absl::GetFlag(FLAGS_max_logprobs), 0, 1024),
        CheckFlag("max_request_cache_mb", absl::GetFlag(FLAGS_max_request_cache_mb), 0, kMany)}) {
    if (!status.ok()) return status;
  }
  limits->default_max_tokens = absl::GetFlag(FLAGS_default_max_tokens);
  limits->max_prompt_tokens = absl::GetFlag(FLAGS_max_prompt_tokens);
  limits->max_samples = absl::GetFlag(FLAGS_max_samples);
  limits->max_stop_texts = absl::GetFlag(FLAGS_max_stop_texts);
  limits->max_stop_text_bytes = absl::GetFlag(FLAGS_max_stop_text_bytes);
  limits->max_logit_bias_entries = absl::GetFlag(FLAGS_max_logit_bias);
  limits->max_logprobs = absl::GetFlag(FLAGS_max_logprobs);
  limits->max_request_cache_bytes = absl::GetFlag(FLAGS_max_request_cache_mb) << 20;
  return absl::OkStatus();
}

// What the server takes on.
absl::Status ReadLoadLimitFlags(Limits* limits) {
  constexpr int64_t kMostMessageBytes = 1 << 28;
  const absl::Duration stalled = absl::GetFlag(FLAGS_stalled_reader_timeout);
  for (const absl::Status& status :
       {CheckFlag("max_running", absl::GetFlag(FLAGS_max_running), 1, kMany),
        CheckFlag("max_queued_requests", absl::GetFlag(FLAGS_max_queued_requests), 1, 1 << 20),
        CheckFlag("max_queued_prompt_tokens", absl::GetFlag(FLAGS_max_queued_prompt_tokens), 0,
                  int64_t{1} << 50),
        CheckFlag("max_message_bytes", absl::GetFlag(FLAGS_max_message_bytes), 1024,
                  kMostMessageBytes),
        CheckFlag("max_streams_per_connection", absl::GetFlag(FLAGS_max_streams_per_connection), 1,
                  1 << 20),
        CheckDuration("stalled_reader_timeout", stalled, absl::Milliseconds(1))}) {
    if (!status.ok()) return status;
  }
  limits->max_running_sequences = absl::GetFlag(FLAGS_max_running);
  limits->max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests);
  limits->max_queued_prompt_tokens = absl::GetFlag(FLAGS_max_queued_prompt_tokens);
  limits->max_request_bytes = absl::GetFlag(FLAGS_max_message_bytes);
  limits->max_streams_per_connection = absl::GetFlag(FLAGS_max_streams_per_connection);
  limits->stalled_reader_timeout = stalled;
  return absl::OkStatus();
}

absl::Status ReadConnectionAgeFlag(absl::Duration* age) {
  constexpr absl::Duration kMost = absl::Hours(24 * 7);
  *age = absl::GetFlag(FLAGS_max_connection_age);
  if (*age == absl::InfiniteDuration() || (*age >= absl::Seconds(1) && *age <= kMost)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--max_connection_age is ", absl::FormatDuration(*age), "; expected 1s to 168h, or inf"));
}

absl::Status ReadCallerFlags(ServerConfig* config) {
  config->api_keys = absl::GetFlag(FLAGS_api_keys);
  if (!config->api_keys.empty() && !absl::GetFlag(FLAGS_tenant_weights).empty()) {
    return absl::InvalidArgumentError(
        "with --api_keys, weights stand in its file; leave out --tenant_weights");
  }
  absl::StatusOr<std::map<std::string, double>> weights =
      ParseTenantWeights(absl::GetFlag(FLAGS_tenant_weights));
  if (!weights.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tenant_weights: ", weights.status().message()));
  }
  config->callers.tenant_weights = *std::move(weights);
  return absl::OkStatus();
}

absl::Status ReadTlsFlags(std::optional<TlsFiles>* tls) {
  const TlsFiles files{.certificate = absl::GetFlag(FLAGS_tls_cert),
                       .private_key = absl::GetFlag(FLAGS_tls_key),
                       .client_ca = absl::GetFlag(FLAGS_tls_client_ca)};
  if (!files.certificate.empty() && !files.private_key.empty()) {
    *tls = files;
  } else if (!files.certificate.empty() || !files.private_key.empty() || !files.client_ca.empty()) {
    return absl::InvalidArgumentError(
        "TLS needs both --tls_cert and --tls_key; --tls_client_ca is for use with them");
  }
  return absl::OkStatus();
}

// REQUIRES: the other flags of `config` are read.
Protection ProtectionOf(const ServerConfig& config) {
  return {.tls = config.tls.has_value(),
          .client_certificates = config.tls.has_value() && !config.tls->client_ca.empty(),
          .api_keys = !config.api_keys.empty(),
          .insecure = absl::GetFlag(FLAGS_insecure),
          .metrics_public = absl::GetFlag(FLAGS_metrics_public)};
}

// REQUIRES: the flags of TLS and callers are read.
absl::Status ReadAddressFlags(ServerConfig* config) {
  const Protection protection = ProtectionOf(*config);
  absl::StatusOr<ListenAddress> grpc =
      AddressFlag("listen", absl::GetFlag(FLAGS_listen), protection, CheckGrpcExposure);
  if (!grpc.ok()) return grpc.status();
  config->grpc = *std::move(grpc);
  const std::string value = absl::GetFlag(FLAGS_metrics_listen);
  if (value.empty()) return absl::OkStatus();
  absl::StatusOr<ListenAddress> metrics =
      AddressFlag("metrics_listen", value, protection, CheckMetricsExposure);
  if (!metrics.ok()) return metrics.status();
  config->metrics = *std::move(metrics);
  return absl::OkStatus();
}

absl::Status ReadLogFlags(LogConfig* log, RequestLogConfig* requests) {
  log->level = absl::GetFlag(FLAGS_log_level);
  const std::string format = absl::GetFlag(FLAGS_log_format);
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("--log_format is \"", format, "\"; expected text or json"));
  }
  log->format = format == "json" ? LogFormat::kJson : LogFormat::kText;
  requests->format = log->format;
  requests->content = absl::GetFlag(FLAGS_log_prompts);
  requests->enabled = absl::GetFlag(FLAGS_log_requests);
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> ConfigFromFlags(LogConfig* log) {
  ServerConfig config;
  absl::Status status = ReadModelFlags(&config.model);
  status.Update(ReadRequestLimitFlags(&config.model.limits));
  status.Update(ReadLoadLimitFlags(&config.model.limits));
  status.Update(ReadConnectionAgeFlag(&config.max_connection_age));
  status.Update(ReadCallerFlags(&config));
  status.Update(ReadTlsFlags(&config.tls));
  status.Update(ReadAddressFlags(&config));
  status.Update(ReadLogFlags(log, &config.request_log));
  status.Update(CheckFlag("compute_nice", absl::GetFlag(FLAGS_compute_nice), 0, 19));
  status.Update(
      CheckDuration("drain_grace", absl::GetFlag(FLAGS_drain_grace), absl::ZeroDuration()));
  if (!status.ok()) return status;
  config.compute_nice = absl::GetFlag(FLAGS_compute_nice);
  config.model.refuse_late = absl::GetFlag(FLAGS_refuse_late);
  const Limits& limits = config.model.limits;
  config.max_open_calls =
      int64_t{limits.max_queued_requests} + limits.max_running_sequences + kCallsAside;
  return config;
}

// Readers of the file see all of it or nothing.
absl::Status WritePortFile(const std::string& path, const Server& server) {
  const std::string temporary = absl::StrCat(path, ".", getpid());
  std::ofstream file(temporary);
  file << "grpc=" << server.grpc_port() << " metrics=" << server.metrics_port() << "\n";
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, path, error);
  if (file && !error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write --port_file ", path));
}

// Resident memory stays flat by three means: large blocks are the system's again when they are
// freed (glibc would raise the threshold when it frees the first message of megabytes), there are
// few heaps, each of which has holes of its own, and the holes are given back now and then.
// bench/results/soak.jsonl has the half hour without them: 4.9 % more.
constexpr absl::Duration kTrimPeriod = absl::Seconds(10);

void GiveMemoryBack() {
  mallopt(M_MMAP_THRESHOLD, 128 << 10);  // bytes; where it begins
  mallopt(M_ARENA_MAX, std::max<int>(2, std::thread::hardware_concurrency() / 4));
}

// Serves until the process is told to stop, or its device fails.
absl::Status Serve(ServerConfig config, StopSignals* signals) {
  const absl::Time start = absl::Now();
  for (const std::string& warning :
       ExposureWarnings(config.grpc, config.metrics, ProtectionOf(config))) {
    spdlog::warn("{}", warning);
  }
  config.on_broken = [signals] { signals->Stop(); };
  absl::StatusOr<std::unique_ptr<Server>> listening = Server::Listen(std::move(config));
  if (!listening.ok()) return listening.status();
  Server& server = **listening;
  if (absl::Status status = server.Load(); !status.ok()) return status;
  signals->Expect([&server] { server.Hurry(); });
  const absl::Cleanup ignore = [signals] { signals->Ignore(); };
  if (const std::string path = absl::GetFlag(FLAGS_port_file); !path.empty()) {
    if (absl::Status status = WritePortFile(path, server); !status.ok()) return status;
  }
  const ModelInfo& model = server.model();
  spdlog::info(
      "serving {} ({}, {} parameters, context {}): grpc port {}, metrics port {}; ready in {:.2f} "
      "s",
      model.config.name, model.weight_type, model.parameters, model.limits.max_context_tokens,
      server.grpc_port(), server.metrics_port(), absl::ToDoubleSeconds(absl::Now() - start));
  while (!signals->AwaitFor(kTrimPeriod)) malloc_trim(0);
  server.Drain(absl::GetFlag(FLAGS_drain_grace));
  return server.broken();
}

// Every connection is an open file, and the limit that shells set (often 1024) is a soft one.
void RaiseOpenFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Fail(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "sieve_server: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

int Main(int argc, char** argv) {
  absl::Status flags = ParseFlags(argc, argv);
  LogConfig log;
  absl::StatusOr<ServerConfig> config = ConfigFromFlags(&log);
  flags.Update(config.status());
  RaiseOpenFileLimit();
  GiveMemoryBack();
  StopSignals signals;            // before any other thread is made
  std::signal(SIGPIPE, SIG_IGN);  // a write to a client that is gone is an error code
  flags.Update(SetUpLogging(log));
  if (!flags.ok()) return Fail(flags, kExitBadFlags);

  const absl::Status served = Serve(*std::move(config), &signals);
  const bool json = log.format == LogFormat::kJson;
  if (json && !served.ok()) spdlog::error("{}", std::string(served.message()));
  FlushLog(kFlushTimeout);
  if (served.ok()) return EXIT_SUCCESS;
  return json ? kExitError : Fail(served, kExitError);
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) { return sieve::Main(argc, argv); }
