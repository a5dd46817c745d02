// sieve_server: serves a Llama checkpoint over gRPC.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/log_format.h"
#include "server/logging.h"
#include "server/server.h"
#include "server/server_config.h"
#include "spdlog/spdlog.h"

ABSL_FLAG(std::string, model, "",
          "Checkpoint: a .gguf file, or a folder with config.json, *.safetensors and "
          "tokenizer.json. Required.");
ABSL_FLAG(std::string, listen, "127.0.0.1:50051",
          "Address and port of gRPC; port 0: any free one.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9464",
          "Address and port of Prometheus metrics, at /metrics; empty: off.");
ABSL_FLAG(bool, insecure, false,
          "Allow addresses that other machines can reach. There is neither encryption nor "
          "authentication.");
ABSL_FLAG(std::string, port_file, "",
          "When ready, write \"grpc=PORT metrics=PORT\" (0: off) to this file.");
ABSL_FLAG(int32_t, threads, 0, "Threads that compute; 0: one a core.");
ABSL_FLAG(int64_t, kv_cache_mb, 1024, "MiB for the key/value cache.");
ABSL_FLAG(std::string, kv_type, "f16", "Type of keys and values in the cache: f32, f16 or bf16.");
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
ABSL_FLAG(std::string, log_level, "info", "debug, info, warn, error or off.");
ABSL_FLAG(std::string, log_format, "text", "text, or json: one object a line.");
ABSL_FLAG(bool, log_requests, true,
          "Log one line for each request that ends or is refused, without what it says.");

namespace sieve {
namespace {

constexpr int kExitError = 1;
constexpr int kExitBadFlags = 2;
constexpr int64_t kMany = 1 << 30;
// For streams to deliver what they have when the server is stopped.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// For the last lines of the log, when what they are written to is slow.
constexpr absl::Duration kFlushTimeout = absl::Seconds(2);

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

absl::StatusOr<ListenAddress> AddressFlag(absl::string_view name, const std::string& value) {
  absl::StatusOr<ListenAddress> address = ParseListenAddress(value);
  if (!address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", address.status().message()));
  }
  if (!address->loopback && !absl::GetFlag(FLAGS_insecure)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--", name, "=", value,
        " can be reached from other machines, without encryption or authentication; add --insecure "
        "if that is meant"));
  }
  return address;
}

absl::StatusOr<DType> CacheTypeFlag() {
  const std::string name = absl::GetFlag(FLAGS_kv_type);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (name == InfoOf(dtype).name) return dtype;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--kv_type is \"", name, "\"; expected f32, f16 or bf16"));
}

// Each of these reads one group of flags; the first that is wrong is the error.

absl::Status ReadModelFlags(ModelHostConfig* model) {
  model->path = absl::GetFlag(FLAGS_model);
  if (model->path.empty()) {
    return absl::InvalidArgumentError("--model is required: the checkpoint to serve");
  }
  for (const absl::Status& status :
       {CheckFlag("threads", absl::GetFlag(FLAGS_threads), 0, 1024),
        CheckFlag("kv_cache_mb", absl::GetFlag(FLAGS_kv_cache_mb), 1, kMany),
        CheckFlag("max_step_tokens", absl::GetFlag(FLAGS_max_step_tokens), 1, kMany),
        CheckFlag("max_context", absl::GetFlag(FLAGS_max_context), 0, kMany)}) {
    if (!status.ok()) return status;
  }
  model->num_threads = absl::GetFlag(FLAGS_threads);
  model->cache_bytes = absl::GetFlag(FLAGS_kv_cache_mb) << 20;
  model->max_step_tokens = absl::GetFlag(FLAGS_max_step_tokens);
  model->context_length = absl::GetFlag(FLAGS_max_context);
  const absl::StatusOr<DType> cache_dtype = CacheTypeFlag();
  if (!cache_dtype.ok()) return cache_dtype.status();
  model->cache_dtype = *cache_dtype;
  return absl::OkStatus();
}

absl::Status ReadLimitFlags(Limits* limits) {
  for (const absl::Status& status :
       {CheckFlag("max_running", absl::GetFlag(FLAGS_max_running), 1, kMany),
        CheckFlag("max_queued_requests", absl::GetFlag(FLAGS_max_queued_requests), 1, kMany),
        CheckFlag("default_max_tokens", absl::GetFlag(FLAGS_default_max_tokens), 1, kMany),
        CheckFlag("max_samples", absl::GetFlag(FLAGS_max_samples), 1, 1024)}) {
    if (!status.ok()) return status;
  }
  limits->max_running_sequences = absl::GetFlag(FLAGS_max_running);
  limits->max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests);
  limits->default_max_tokens = absl::GetFlag(FLAGS_default_max_tokens);
  limits->max_samples = absl::GetFlag(FLAGS_max_samples);
  return absl::OkStatus();
}

absl::Status ReadAddressFlags(ServerConfig* config) {
  const absl::StatusOr<ListenAddress> grpc = AddressFlag("listen", absl::GetFlag(FLAGS_listen));
  if (!grpc.ok()) return grpc.status();
  config->grpc = *grpc;
  const std::string value = absl::GetFlag(FLAGS_metrics_listen);
  if (value.empty()) return absl::OkStatus();
  const absl::StatusOr<ListenAddress> metrics = AddressFlag("metrics_listen", value);
  if (!metrics.ok()) return metrics.status();
  config->metrics = *metrics;
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
  requests->enabled = absl::GetFlag(FLAGS_log_requests);
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> ConfigFromFlags(LogConfig* log) {
  ServerConfig config;
  absl::Status status = ReadModelFlags(&config.model);
  status.Update(ReadLimitFlags(&config.model.limits));
  status.Update(ReadAddressFlags(&config));
  status.Update(ReadLogFlags(log, &config.request_log));
  if (!status.ok()) return status;
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

// Serves until SIGINT or SIGTERM. REQUIRES: they are blocked in all threads.
absl::Status Serve(const ServerConfig& config, const sigset_t& stop_signals) {
  const absl::Time start = absl::Now();
  absl::StatusOr<std::unique_ptr<Server>> started = Server::Start(config);
  if (!started.ok()) return started.status();
  Server& server = **started;
  if (const std::string path = absl::GetFlag(FLAGS_port_file); !path.empty()) {
    if (absl::Status status = WritePortFile(path, server); !status.ok()) return status;
  }
  const ModelInfo& model = server.model();
  spdlog::info(
      "serving {} ({}, {} parameters, context {}): grpc port {}, metrics port {}; ready in {:.2f} "
      "s",
      model.config.name, model.weight_type, model.parameters, model.limits.max_context_tokens,
      server.grpc_port(), server.metrics_port(), absl::ToDoubleSeconds(absl::Now() - start));
  int signal = 0;
  sigwait(&stop_signals, &signal);
  spdlog::info("{}: stopping", signal == SIGINT ? "SIGINT" : "SIGTERM");
  server.Stop(kStopGrace);
  return absl::OkStatus();
}

int Fail(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "sieve_server: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

int Main(int argc, char** argv) {
  absl::Status flags = ParseFlags(argc, argv);
  LogConfig log;
  const absl::StatusOr<ServerConfig> config = ConfigFromFlags(&log);
  flags.Update(config.status());
  flags.Update(SetUpLogging(log));
  if (!flags.ok()) return Fail(flags, kExitBadFlags);

  // Before any thread is made, so that all of them leave these signals to Serve.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a write to a client that is gone is an error code

  const absl::Status served = Serve(*config, stop_signals);
  const bool json = log.format == LogFormat::kJson;
  if (json && !served.ok()) spdlog::error("{}", std::string(served.message()));
  FlushLog(kFlushTimeout);
  if (served.ok()) return EXIT_SUCCESS;
  return json ? kExitError : Fail(served, kExitError);
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) { return sieve::Main(argc, argv); }
