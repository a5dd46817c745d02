#include "server/reflection_service.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "server/grpc_server.h"
#include "sieve/v1/generation.grpc.pb.h"

namespace sieve {
namespace {

using grpc::reflection::v1alpha::ServerReflection;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

absl::Status NeedsPassword(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("password");
  if (found != context.client_metadata().end() && found->second == "open") return absl::OkStatus();
  return absl::UnauthenticatedError("no password");
}

class ReflectionServiceTest : public testing::Test {
 protected:
  void Serve(AuthorizeCall authorize) {
    server_ = GrpcServer::Start({.address = {.host = "127.0.0.1"},
                                 .credentials = nullptr,
                                 .max_request_bytes = 1 << 20,
                                 .authorize_reflection = std::move(authorize)},
                                &service_)
                  .value();
    stub_ = ServerReflection::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials()));
  }

  // The answers to all questions on one stream, until it ends.
  struct Answers {
    std::vector<ServerReflectionResponse> responses;
    grpc::Status status;
  };
  Answers Ask(const std::vector<ServerReflectionRequest>& requests,
              const std::string& password = "") const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!password.empty()) context.AddMetadata("password", password);
    const auto stream = stub_->ServerReflectionInfo(&context);
    Answers answers;
    ServerReflectionResponse response;
    for (const ServerReflectionRequest& request : requests) {
      if (!stream->Write(request) || !stream->Read(&response)) break;
      answers.responses.push_back(response);
    }
    stream->WritesDone();
    answers.status = stream->Finish();
    return answers;
  }
  ServerReflectionResponse Ask(const ServerReflectionRequest& request) const {
    Answers answers = Ask(std::vector{request});
    EXPECT_TRUE(answers.status.ok());
    EXPECT_EQ(answers.responses.size(), 1);
    return answers.responses.empty() ? ServerReflectionResponse() : answers.responses[0];
  }

  static std::vector<std::string> FileNames(const ServerReflectionResponse& response) {
    std::vector<std::string> names;
    for (const auto& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      names.push_back(file.name());
    }
    return names;
  }
  static ServerReflectionRequest ListServices() {
    ServerReflectionRequest request;
    request.set_list_services("");
    return request;
  }
  static ServerReflectionRequest Symbol(const std::string& name) {
    ServerReflectionRequest request;
    request.set_file_containing_symbol(name);
    return request;
  }

  v1::Generation::CallbackService service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<ServerReflection::Stub> stub_;
};

TEST_F(ReflectionServiceTest, NamesTheServicesAndDescribesEachOfThem) {
  Serve(nullptr);
  std::vector<std::string> names;
  const ServerReflectionResponse list = Ask(ListServices());
  for (const auto& service : list.list_services_response().service()) {
    names.push_back(service.name());
    EXPECT_THAT(FileNames(Ask(Symbol(service.name()))), testing::Not(testing::IsEmpty()));
  }
  EXPECT_THAT(names, UnorderedElementsAre("sieve.v1.Generation", "grpc.health.v1.Health",
                                          "grpc.reflection.v1alpha.ServerReflection"));
}

TEST_F(ReflectionServiceTest, FilesBySymbolAndByName) {
  Serve(nullptr);
  for (const char* symbol : {"sieve.v1.Generation", "sieve.v1.Generation.Generate",
                             "sieve.v1.GenerateRequest", "sieve.v1.GenerateRequest.priority"}) {
    EXPECT_THAT(FileNames(Ask(Symbol(symbol))), testing::Contains("sieve/v1/generation.proto"))
        << symbol;
  }
  ServerReflectionRequest request;
  request.set_host("a.test");
  request.set_file_by_filename("grpc/health/v1/health.proto");
  const ServerReflectionResponse response = Ask(request);
  EXPECT_THAT(FileNames(response), ElementsAre("grpc/health/v1/health.proto"));
  EXPECT_EQ(response.valid_host(), "a.test");
  EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
}

TEST_F(ReflectionServiceTest, ExtensionNumbersOfAMessage) {
  Serve(nullptr);
  ServerReflectionRequest request;
  request.set_all_extension_numbers_of_type("sieve.v1.GenerateRequest");
  const ServerReflectionResponse response = Ask(request);
  EXPECT_EQ(response.all_extension_numbers_response().base_type_name(), "sieve.v1.GenerateRequest");
  EXPECT_EQ(response.all_extension_numbers_response().extension_number_size(), 0);
}

TEST_F(ReflectionServiceTest, WhatIsNotKnownIsAnErrorAndTheStreamGoesOn) {
  Serve(nullptr);
  ServerReflectionRequest file, extension, numbers;
  file.set_file_by_filename("no/such/file.proto");
  extension.mutable_file_containing_extension()->set_containing_type("sieve.v1.GenerateRequest");
  extension.mutable_file_containing_extension()->set_extension_number(-1);
  numbers.set_all_extension_numbers_of_type("no.such.Type");
  const Answers answers = Ask({file, Symbol("no.such.Symbol"), Symbol(""), extension, numbers,
                               ServerReflectionRequest(), ListServices()});
  EXPECT_TRUE(answers.status.ok());
  ASSERT_EQ(answers.responses.size(), 7);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(answers.responses[i].error_response().error_code(), grpc::NOT_FOUND) << i;
  }
  EXPECT_EQ(answers.responses[5].error_response().error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_TRUE(answers.responses[6].has_list_services_response());
}

TEST_F(ReflectionServiceTest, CallersThatMayNotAreToldNothing) {
  Serve(NeedsPassword);
  for (const char* password : {"", "wrong"}) {
    const Answers refused = Ask({ListServices()}, password);
    EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(refused.status.error_message(), "no password");
    EXPECT_TRUE(refused.responses.empty());
  }
  const Answers answers = Ask({ListServices()}, "open");
  EXPECT_TRUE(answers.status.ok());
  EXPECT_EQ(answers.responses.size(), 1);
}

TEST_F(ReflectionServiceTest, AnOpenStreamDoesNotHoldTheServerUp) {
  Serve(nullptr);
  grpc::ClientContext context;
  const auto stream = stub_->ServerReflectionInfo(&context);
  ServerReflectionResponse response;
  ASSERT_TRUE(stream->Write(ListServices()));
  ASSERT_TRUE(stream->Read(&response));
  server_->Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_FALSE(stream->Finish().ok());
}

}  // namespace
}  // namespace sieve
