#include "server/credentials.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "gtest/gtest.h"
#include "sieve/v1/generation.grpc.pb.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "tests/testdata/certificates.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() {
    std::filesystem::create_directory(folder_);
    Write(authority_.Issue({.name = "server.test"}));
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~CredentialsTest() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(folder_);
  }

  void Write(const std::string& path, const std::string& text) const {
    ASSERT_TRUE(WriteFile(path + ".new", text).ok());
    chmod((path + ".new").c_str(), 0600);
    std::filesystem::rename(path + ".new", path);
  }
  void Write(const CertificateAndKey& pair) const {
    Write(files_.certificate, pair.certificate);
    Write(files_.private_key, pair.private_key);
  }
  void RequireClientCertificates(const std::string& roots) {
    files_.client_ca = folder_ + "/clients.crt";
    Write(files_.client_ca, roots);
  }

  // Serves health checks.
  void Serve() {
    auto credentials = ReloadingTlsCredentials(files_, [this] { return now_.load(); });
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    credentials_ = *std::move(credentials);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials_, &port_);
    builder.RegisterService(&service_);  // a server without any is refused
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  // The code of a call over a new connection.
  StatusCode Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    return grpc::health::v1::Health::NewStub(NewChannel(credentials))
        ->Check(Context().get(), {},
                std::make_unique<grpc::health::v1::HealthCheckResponse>().get())
        .error_code();
  }
  StatusCode Call(const TestAuthority& trusted, const CertificateAndKey& own = {}) const {
    return Call(Trusting(trusted, own));
  }
  static std::shared_ptr<grpc::ChannelCredentials> Trusting(const TestAuthority& trusted,
                                                            const CertificateAndKey& own = {}) {
    return grpc::SslCredentials({.pem_root_certs = trusted.certificate(),
                                 .pem_private_key = own.private_key,
                                 .pem_cert_chain = own.certificate});
  }
  std::shared_ptr<grpc::Channel> NewChannel(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port_), credentials, arguments);
  }
  static std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return context;
  }
  void PassASecond() { now_ = now_.load() + std::chrono::seconds(1); }

  const TestAuthority authority_{"Test Authority"};
  const TestAuthority other_{"Other Authority"};
  const std::string folder_ = absl::StrCat(testing::TempDir(), "/credentials", getpid());
  TlsFiles files_{.certificate = folder_ + "/server.crt",
                  .private_key = folder_ + "/server.key",
                  .client_ca = ""};
  std::ostringstream log_;
  std::atomic<std::chrono::steady_clock::time_point> now_{};
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // outlives the server
  v1::Generation::CallbackService service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(CredentialsTest, ClientsThatTrustTheServerAreServed) {
  Serve();
  EXPECT_EQ(Call(authority_), StatusCode::OK);
  EXPECT_EQ(Call(other_), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), StatusCode::UNAVAILABLE);
}

TEST_F(CredentialsTest, WithRootsForClientsTheyMustHaveACertificate) {
  RequireClientCertificates(other_.certificate());
  Serve();
  EXPECT_EQ(Call(authority_), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(authority_, other_.Issue({.name = "client"})), StatusCode::OK);
  EXPECT_EQ(Call(authority_, authority_.Issue({.name = "client"})), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(authority_, other_.Issue({.name = "late", .valid_for = -absl::Hours(1)})),
            StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), StatusCode::UNAVAILABLE);
}

TEST_F(CredentialsTest, FilesThatCannotBeUsed) {
  Write(files_.private_key, authority_.Issue({.name = "server.test"}).private_key);
  EXPECT_THAT(std::string(ReloadingTlsCredentials(files_).status().message()),
              HasSubstr("is not the private key"));
}

TEST_F(CredentialsTest, NewFilesServeNewConnections) {
  Serve();
  EXPECT_THAT(log_.str(), HasSubstr("CN=server.test"));
  const auto open = grpc::health::v1::Health::NewStub(NewChannel(Trusting(authority_)));
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(open->Check(Context().get(), {}, &response).ok());

  Write(other_.Issue({.name = "renewed.test"}));
  EXPECT_EQ(Call(authority_), StatusCode::OK) << "looked at once a second";
  PassASecond();
  EXPECT_EQ(Call(authority_), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(other_), StatusCode::OK);
  EXPECT_THAT(log_.str(), HasSubstr("CN=renewed.test"));
  EXPECT_TRUE(open->Check(Context().get(), {}, &response).ok()) << "open connections stay";
}

TEST_F(CredentialsTest, NewRootsForClients) {
  RequireClientCertificates(authority_.certificate());
  Serve();
  const CertificateAndKey client = authority_.Issue({.name = "client"});
  EXPECT_EQ(Call(authority_, client), StatusCode::OK);
  Write(files_.client_ca, other_.certificate());
  PassASecond();
  EXPECT_EQ(Call(authority_, client), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(authority_, other_.Issue({.name = "client"})), StatusCode::OK);
}

TEST_F(CredentialsTest, HalfAReplacementIsNotTaken) {
  Serve();
  const CertificateAndKey renewed = other_.Issue({.name = "renewed.test"});
  log_.str("");
  Write(files_.certificate, renewed.certificate);
  for (int i = 0; i < 3; ++i) {
    PassASecond();
    EXPECT_EQ(Call(authority_), StatusCode::OK);
  }
  const std::string log = log_.str();
  EXPECT_THAT(log, HasSubstr("TLS certificates stay as they were"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  EXPECT_THAT(log, Not(HasSubstr("renewed.test")));

  Write(files_.private_key, renewed.private_key);
  PassASecond();
  EXPECT_EQ(Call(other_), StatusCode::OK);
}

TEST_F(CredentialsTest, FilesThatAreGoneChangeNothing) {
  RequireClientCertificates(authority_.certificate());
  Serve();
  std::filesystem::remove_all(folder_);
  PassASecond();
  EXPECT_EQ(Call(authority_), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(authority_, authority_.Issue({.name = "client"})), StatusCode::OK);
  EXPECT_THAT(log_.str(), HasSubstr("No such file"));
}

}  // namespace
}  // namespace sieve
