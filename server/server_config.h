#ifndef SIEVE_SERVER_SERVER_CONFIG_H_
#define SIEVE_SERVER_SERVER_CONFIG_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/dtype.h"
#include "model/open_transformer.h"
#include "server/caller.h"
#include "server/limits.h"
#include "server/listen_address.h"
#include "server/log/log_format.h"
#include "server/tls_files.h"

namespace sieve {

// An adapter's folder, and the name that requests know it by.
struct AdapterFolder {
  std::string name;
  std::string dir;
};

// How the model is held and run.
struct ModelHostConfig {
  std::string path;             // of the checkpoint: a .gguf file or a folder
  bool random_weights = false;  // path is that of a config.json: see OpenRandomCheckpoint
  std::string root;             // folder that holds all of it; empty: anywhere
  Device device = Device::kAuto;
  int num_threads = 0;         // 0: one a core
  int64_t cache_bytes = 0;     // for the pages of the key/value cache; 0: see RunOptions
  std::optional<DType> dtype;  // see RunOptions
  int64_t max_step_tokens = 512;
  int64_t context_length = 0;           // tokens, at most the model's; 0: the model's
  Limits limits;                        // max_context_tokens is set from the context length
  bool refuse_late = false;             // see EngineConfig
  std::vector<AdapterFolder> adapters;  // loaded at the start
  // Folder of adapters that may be loaded later; empty: none may.
  std::string adapter_root;
  int64_t max_adapter_bytes = 0;  // see AdapterRegistryOptions
  // See EngineConfig; set by the server.
  std::function<void(const absl::Status&)> on_broken;
  // Called when loading begins, and may take its time or fail; set by tests only.
  std::function<absl::Status()> on_load;
};

// The log's lines of requests.
struct RequestLogConfig {
  bool enabled = true;
  bool content = false;                 // prompts and completions too
  LogFormat format = LogFormat::kText;  // that of the log which they go to
};

struct ServerConfig {
  ModelHostConfig model;
  // Added to the nice value of the threads that compute, so that those that answer calls go first.
  int compute_nice = 5;
  CallerRules callers;            // find_key is set from api_keys
  std::string api_keys;           // path of their file; empty: none are asked for
  int64_t max_open_calls = 4096;  // at a time, whatever they do
  ListenAddress grpc;
  absl::Duration max_connection_age = absl::InfiniteDuration();  // see GrpcServerOptions
  std::optional<TlsFiles> tls;                                   // of gRPC; absent: plaintext
  std::optional<ListenAddress> metrics;                          // absent: off
  RequestLogConfig request_log;
  // Called once, on a thread of the server's, when the model's device is lost: all requests end,
  // and the server is to be drained.
  std::function<void()> on_broken;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_SERVER_CONFIG_H_
