#include "client/connection.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "sieve/v1/generation.grpc.pb.h"
#include "tests/testdata/certificates.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Keeps what metadata calls come with.
class RecordingService : public v1::Generation::Service {
 public:
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest*,
                        v1::GetModelResponse*) override {
    Record(*context);
    return grpc::Status::OK;
  }
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest*,
                        grpc::ServerWriter<v1::GenerateEvent>*) override {
    Record(*context);
    return grpc::Status::OK;
  }
  // Of the last call: "name: value" for what concerns us.
  std::vector<std::string> metadata() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return metadata_;
  }

 private:
  void Record(const grpc::ServerContext& context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    metadata_.clear();
    for (const auto& [name, value] : context.client_metadata()) {
      if (name != "authorization" && name != "x-sieve-tenant") continue;
      metadata_.push_back(absl::StrCat(std::string(name.data(), name.size()), ": ",
                                       std::string(value.data(), value.size())));
    }
  }

  mutable std::mutex mutex_;
  std::vector<std::string> metadata_;  // guarded by mutex_
};

class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() { std::filesystem::create_directory(folder_); }
  ~ConnectionTest() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(folder_);
  }

  void Serve(const std::shared_ptr<grpc::ServerCredentials>& credentials) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    options_.address = absl::StrCat("127.0.0.1:", port);
  }
  // With roots, clients need a certificate.
  void ServeTls(const CertificateAndKey& pair, const std::string& client_roots = "") {
    grpc::SslServerCredentialsOptions options(
        client_roots.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                             : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = client_roots;
    options.pem_key_cert_pairs.push_back({pair.private_key, pair.certificate});
    Serve(grpc::SslServerCredentials(options));
  }

  StatusCode Call() const {
    const auto channel = OpenChannel(options_);
    EXPECT_TRUE(channel.ok()) << channel.status();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::GetModelResponse response;
    return v1::Generation::NewStub(*channel)->GetModel(&context, {}, &response).error_code();
  }
  void ExpectRefused(const std::string& part) const {
    const auto channel = OpenChannel(options_);
    EXPECT_EQ(channel.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(channel.status().message()), HasSubstr(part));
  }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = absl::StrCat(folder_, "/", name);
    EXPECT_TRUE(WriteFile(path, text).ok());
    return path;
  }

  const std::string folder_ = absl::StrCat(testing::TempDir(), "/connection", getpid());
  const TestAuthority authority_{"Test Authority"};
  const TestAuthority other_{"Other Authority"};
  RecordingService service_;
  std::unique_ptr<grpc::Server> server_;
  ConnectionOptions options_;
};

TEST_F(ConnectionTest, CallsCarryNothingByDefault) {
  Serve(grpc::InsecureServerCredentials());
  EXPECT_EQ(Call(), StatusCode::OK);
  EXPECT_THAT(service_.metadata(), IsEmpty());
}

TEST_F(ConnectionTest, EveryKindOfCallCarriesKeyAndTenant) {
  Serve(grpc::InsecureServerCredentials());
  options_.api_key = "secret";
  options_.tenant = "acme";
  const auto expected = ElementsAre("authorization: Bearer secret", "x-sieve-tenant: acme");
  EXPECT_EQ(Call(), StatusCode::OK);
  EXPECT_THAT(service_.metadata(), expected);

  options_.api_key = "other";
  const auto stub = v1::Generation::NewStub(*OpenChannel(options_));
  grpc::ClientContext context;
  v1::GenerateEvent event;
  const auto stream = stub->Generate(&context, {});
  EXPECT_FALSE(stream->Read(&event));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_THAT(service_.metadata(),
              ElementsAre("authorization: Bearer other", "x-sieve-tenant: acme"));
}

TEST_F(ConnectionTest, AKeysFileGoesBeforeTheEnvironment) {
  Serve(grpc::InsecureServerCredentials());
  options_.api_key = "from the environment";  // no key at all
  options_.api_key_file = Write("key", "\n from-file \r\n");
  EXPECT_EQ(Call(), StatusCode::OK);
  EXPECT_THAT(service_.metadata(), ElementsAre("authorization: Bearer from-file"));
}

TEST_F(ConnectionTest, WrongKeysAreNotSentAndNotRepeated) {
  options_.api_key_file = folder_ + "/nothing";
  ExpectRefused("/nothing: cannot be read");
  for (const std::string& text :
       {std::string(), std::string("secret two"), std::string("secret\ntwo"),
        std::string("secr\xE9t"), std::string(2000, 'a'), std::string(3 << 20, 'a')}) {
    options_.api_key_file = Write("key", text);
    ExpectRefused(*options_.api_key_file);
    EXPECT_THAT(std::string(OpenChannel(options_).status().message()), Not(HasSubstr("secr")));
  }
  options_.api_key_file.reset();
  options_.api_key = "secret two";
  ExpectRefused("SIEVE_API_KEY");
}

TEST_F(ConnectionTest, TlsWithRootsFromAFile) {
  ServeTls(authority_.Issue({.name = "server.test"}));
  EXPECT_EQ(Call(), StatusCode::UNAVAILABLE) << "plaintext";
  options_.tls_ca = Write("other.crt", other_.certificate());
  EXPECT_EQ(Call(), StatusCode::UNAVAILABLE);
  options_.tls_ca = Write("ca.crt", authority_.certificate());
  options_.api_key = "secret";
  EXPECT_EQ(Call(), StatusCode::OK);
  EXPECT_THAT(service_.metadata(), ElementsAre("authorization: Bearer secret"));
}

TEST_F(ConnectionTest, TlsAloneTrustsTheSystemsRoots) {
  ServeTls(authority_.Issue({.name = "server.test"}));
  options_.tls = true;
  EXPECT_EQ(Call(), StatusCode::UNAVAILABLE);
}

TEST_F(ConnectionTest, AnotherServerName) {
  ServeTls(authority_.Issue({.name = "server.test"}));
  options_.tls_ca = Write("ca.crt", authority_.certificate());
  options_.server_name = "server.test";
  EXPECT_EQ(Call(), StatusCode::OK);
  options_.server_name = "elsewhere.test";
  EXPECT_EQ(Call(), StatusCode::UNAVAILABLE);
}

TEST_F(ConnectionTest, MutualTls) {
  ServeTls(authority_.Issue({.name = "server.test"}), other_.certificate());
  options_.tls_ca = Write("ca.crt", authority_.certificate());
  EXPECT_EQ(Call(), StatusCode::UNAVAILABLE);
  const CertificateAndKey own = other_.Issue({.name = "client"});
  options_.tls_cert = Write("client.crt", own.certificate);
  options_.tls_key = Write("client.key", own.private_key);
  EXPECT_EQ(Call(), StatusCode::OK);
}

TEST_F(ConnectionTest, FilesThatCannotBeUsed) {
  options_.address = "127.0.0.1:1";
  options_.tls_ca = folder_ + "/nothing.crt";
  ExpectRefused("/nothing.crt: cannot be read");
  options_.tls_ca = Write("ca.crt", "no PEM");
  ExpectRefused("ca.crt: no PEM certificate");
  options_.tls_ca.reset();

  const CertificateAndKey own = other_.Issue({.name = "client"});
  options_.tls_cert = Write("client.crt", own.certificate);
  ExpectRefused("--tls_cert and --tls_key go together");
  options_.tls_key = Write("client.key", other_.Issue({.name = "client"}).private_key);
  ExpectRefused("not the private key");
  options_.tls_key = Write("client.key", Encrypted(own.private_key));
  ExpectRefused("without a passphrase");
  options_.tls_key = Write("client.key", own.private_key);
  EXPECT_TRUE(OpenChannel(options_).ok());
  options_.tls_cert = Write("client.crt", "");
  ExpectRefused("client.crt: no PEM certificate");
}

TEST_F(ConnectionTest, KeysInClearOverTheNetwork) {
  options_.address = "10.0.0.1:50051";
  EXPECT_FALSE(ExposesKey(options_)) << "there is none";
  options_.api_key = "secret";
  EXPECT_TRUE(ExposesKey(options_));
  for (const char* local : {"127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/x"}) {
    options_.address = local;
    EXPECT_FALSE(ExposesKey(options_)) << local;
  }
  options_.address = "server.test:50051";
  EXPECT_TRUE(ExposesKey(options_));
  options_.tls = true;
  EXPECT_FALSE(ExposesKey(options_));
}

}  // namespace
}  // namespace sieve
