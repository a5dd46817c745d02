#include "server/exposure.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const ListenAddress kLocal = ParseListenAddress("127.0.0.1:1").value();
const ListenAddress kLocal6 = ParseListenAddress("[::1]:1").value();

// Reachable from elsewhere.
std::vector<ListenAddress> Public() {
  std::vector<ListenAddress> addresses;
  for (const char* text : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:127.0.0.1]:1"}) {
    addresses.push_back(ParseListenAddress(text).value());
  }
  return addresses;
}

void ExpectRefused(const absl::Status& status, const std::string& part) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

TEST(ExposureTest, ThisMachineNeedsNothing) {
  for (const ListenAddress& address : {kLocal, kLocal6}) {
    EXPECT_TRUE(CheckGrpcExposure(address, {}).ok());
    EXPECT_TRUE(CheckMetricsExposure(address, {}).ok());
    EXPECT_THAT(ExposureWarnings(address, address, {}), IsEmpty());
  }
}

TEST(ExposureTest, GrpcElsewhereNeedsTlsOrAWord) {
  for (const ListenAddress& address : Public()) {
    SCOPED_TRACE(address.ToString());
    ExpectRefused(CheckGrpcExposure(address, {}), address.ToString());
    ExpectRefused(CheckGrpcExposure(address, {}), "--tls_cert");
    // Keys alone would travel in clear.
    ExpectRefused(CheckGrpcExposure(address, {.api_keys = true, .metrics_public = true}),
                  "--insecure");
    EXPECT_TRUE(CheckGrpcExposure(address, {.tls = true}).ok());
    EXPECT_TRUE(CheckGrpcExposure(address, {.insecure = true}).ok());
  }
}

TEST(ExposureTest, MetricsElsewhereNeedAWordOfTheirOwn) {
  for (const ListenAddress& address : Public()) {
    SCOPED_TRACE(address.ToString());
    ExpectRefused(CheckMetricsExposure(address, {.tls = true, .api_keys = true}),
                  "--metrics_public");
    EXPECT_TRUE(CheckMetricsExposure(address, {.metrics_public = true}).ok());
    EXPECT_TRUE(CheckMetricsExposure(address, {.insecure = true}).ok());
  }
}

TEST(ExposureTest, WarningsSayWhatIsOpen) {
  const ListenAddress open = Public()[0];
  EXPECT_THAT(ExposureWarnings(open, std::nullopt, {.insecure = true}),
              ElementsAre(AllOf(HasSubstr("INSECURE"), HasSubstr("0.0.0.0:1")),
                          HasSubstr("whoever reaches it may use it")));
  EXPECT_THAT(ExposureWarnings(open, kLocal, {.api_keys = true, .insecure = true}),
              ElementsAre(HasSubstr("and the API keys")));
  EXPECT_THAT(ExposureWarnings(open, kLocal, {.tls = true}),
              ElementsAre(HasSubstr("whoever reaches it may use it")));
  EXPECT_THAT(ExposureWarnings(open, kLocal, {.tls = true, .client_certificates = true}),
              IsEmpty());
  EXPECT_THAT(ExposureWarnings(open, open, {.tls = true, .api_keys = true}),
              ElementsAre(HasSubstr("metrics on 0.0.0.0:1")));
}

}  // namespace
}  // namespace sieve
