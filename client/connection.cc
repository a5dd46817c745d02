#include "client/connection.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/pem_files.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/client_interceptor.h"

namespace sieve {
namespace {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// Adds the same metadata to every call, whoever makes it. (gRPC's call credentials do that too, but
// not on channels without TLS.)
class MetadataAdder : public grpc::experimental::Interceptor {
 public:
  explicit MetadataAdder(const Metadata* metadata) : metadata_(metadata) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(Point::PRE_SEND_INITIAL_METADATA)) {
      for (const auto& [name, value] : *metadata_) {
        methods->GetSendInitialMetadata()->emplace(name, value);
      }
    }
    methods->Proceed();
  }

 private:
  const Metadata* const metadata_;
};

class MetadataAdderFactory : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit MetadataAdderFactory(Metadata metadata) : metadata_(std::move(metadata)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new MetadataAdder(&metadata_);
  }

 private:
  const Metadata metadata_;
};

bool UsesTls(const ConnectionOptions& options) {
  return options.tls || options.tls_ca || options.tls_cert || options.tls_key ||
         options.server_name;
}

// What may stand in a header, so that a wrong file is told from a wrong key.
bool IsKey(absl::string_view text) {
  return !text.empty() && text.size() <= 1024 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isgraph(c); });
}

absl::StatusOr<Metadata> MetadataOf(const ConnectionOptions& options) {
  Metadata metadata;
  std::string key = options.api_key.value_or("");
  if (options.api_key_file) {
    absl::StatusOr<std::string> text = ReadTextFile(*options.api_key_file);
    if (!text.ok()) return text.status();
    key = std::string(absl::StripAsciiWhitespace(*text));
    if (!IsKey(key)) {
      return absl::InvalidArgumentError(absl::StrCat(
          *options.api_key_file, ": expected an API key, printable characters without spaces"));
    }
  }
  if (!key.empty()) {
    if (!IsKey(key)) {
      return absl::InvalidArgumentError(
          "SIEVE_API_KEY: expected an API key, printable characters without spaces");
    }
    metadata.emplace_back("authorization", absl::StrCat("Bearer ", key));
  }
  if (options.tenant) {
    if (!IsKey(*options.tenant)) {
      return absl::InvalidArgumentError("--tenant: expected a name without spaces");
    }
    metadata.emplace_back("x-sieve-tenant", *options.tenant);
  }
  return metadata;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(
    const ConnectionOptions& options) {
  if (!UsesTls(options)) return grpc::InsecureChannelCredentials();
  if (options.tls_cert.has_value() != options.tls_key.has_value()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key go together");
  }
  grpc::SslCredentialsOptions ssl;
  if (options.tls_ca) {
    absl::StatusOr<std::string> roots = ReadRoots(*options.tls_ca);
    if (!roots.ok()) return roots.status();
    ssl.pem_root_certs = *std::move(roots);
  }
  if (options.tls_cert) {
    absl::StatusOr<ClientIdentity> identity =
        ReadClientIdentity(*options.tls_cert, *options.tls_key);
    if (!identity.ok()) return identity.status();
    ssl.pem_cert_chain = std::move(identity->certificates);
    ssl.pem_private_key = std::move(identity->private_key);
  }
  return grpc::SslCredentials(ssl);
}

}  // namespace

void AddConnectionFlags(FlagSet* flags, ConnectionOptions* options) {
  flags->Add("tls", "encrypt, and trust the system's roots", &options->tls);
  flags->Add("tls_ca", "encrypt, and trust the roots in this PEM file", &options->tls_ca);
  flags->Add("tls_cert", "PEM file of the client's own certificate", &options->tls_cert);
  flags->Add("tls_key", "PEM file of its private key", &options->tls_key);
  flags->Add("tls_server_name", "name in the server's certificate, where not the address's",
             &options->server_name);
  flags->Add("api_key_file", "file with the API key, else $SIEVE_API_KEY", &options->api_key_file);
  flags->Add("tenant", "who asks, of a server without API keys", &options->tenant);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ConnectionOptions& options,
                                                           grpc::ChannelArguments arguments) {
  absl::StatusOr<Metadata> metadata = MetadataOf(options);
  if (!metadata.ok()) return metadata.status();
  const auto credentials = CredentialsOf(options);
  if (!credentials.ok()) return credentials.status();
  if (options.server_name) arguments.SetSslTargetNameOverride(*options.server_name);
  if (metadata->empty()) return grpc::CreateCustomChannel(options.address, *credentials, arguments);
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<MetadataAdderFactory>(*std::move(metadata)));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      options.address, *credentials, arguments, std::move(interceptors));
}

bool ExposesKey(const ConnectionOptions& options) {
  if (UsesTls(options) || (!options.api_key && !options.api_key_file)) return false;
  for (const absl::string_view local : {"127.", "localhost:", "[::1]:", "unix:"}) {
    if (absl::StartsWith(options.address, local)) return false;
  }
  return true;
}

}  // namespace sieve
