#include "server/tls_files.h"

#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testdata/certificates.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest() {
    std::filesystem::create_directory(folder_);
    Write(files_.certificate, pair_.certificate);
    Write(files_.private_key, pair_.private_key);
  }
  ~TlsFilesTest() override { std::filesystem::remove_all(folder_); }

  static void Write(const std::string& path, const std::string& text) {
    ASSERT_TRUE(WriteFile(path, text).ok());
    chmod(path.c_str(), 0600);
  }
  // The message names the file and has both parts.
  void ExpectRefused(const std::string& path, const std::string& part,
                     const std::string& other = "") const {
    const auto material = ReadTlsFiles(files_);
    ASSERT_FALSE(material.ok());
    EXPECT_THAT(std::string(material.status().message()),
                AllOf(HasSubstr(path), HasSubstr(part), HasSubstr(other)));
    EXPECT_EQ(ERR_peek_error(), 0) << "gRPC would take it for an error of its own";
  }

  const TestAuthority authority_{"Test Authority"};
  const CertificateAndKey pair_ = authority_.Issue({.name = "server.test"});
  const std::string folder_ = absl::StrCat(testing::TempDir(), "/tls", getpid());
  TlsFiles files_{.certificate = folder_ + "/server.crt",
                  .private_key = folder_ + "/server.key",
                  .client_ca = ""};
};

TEST_F(TlsFilesTest, ReadsWhatIsThere) {
  Write(files_.certificate, pair_.certificate + authority_.certificate());
  files_.client_ca = folder_ + "/clients.crt";
  Write(files_.client_ca, authority_.certificate() + TestAuthority("Other").certificate());
  const auto material = ReadTlsFiles(files_);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->certificates, pair_.certificate + authority_.certificate());
  EXPECT_EQ(material->private_key, pair_.private_key);
  EXPECT_FALSE(material->client_ca.empty());
  EXPECT_EQ(material->subject, "CN=server.test");
  EXPECT_LT(material->not_before, absl::Now());
  EXPECT_GT(material->not_after, absl::Now() + absl::Minutes(59));
  EXPECT_EQ(ERR_peek_error(), 0);
}

TEST_F(TlsFilesTest, ACertificateThatRanOutIsForClientsToJudge) {
  const CertificateAndKey old =
      authority_.Issue({.name = "old.test", .valid_for = -absl::Hours(1)});
  Write(files_.certificate, old.certificate);
  Write(files_.private_key, old.private_key);
  const auto material = ReadTlsFiles(files_);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_LT(material->not_after, absl::Now());
}

TEST_F(TlsFilesTest, MissingFiles) {
  for (std::string* path : {&files_.certificate, &files_.private_key, &files_.client_ca}) {
    const std::string there = *path;
    *path = folder_ + "/nothing.pem";
    ExpectRefused(*path, "No such file");
    *path = there;
  }
}

TEST_F(TlsFilesTest, AKeyOfAnotherCertificate) {
  Write(files_.private_key, authority_.Issue({.name = "server.test"}).private_key);
  ExpectRefused(files_.private_key, "is not the private key of the certificate",
                files_.certificate);
  Write(files_.private_key, authority_.Issue({.name = "x.test", .rsa_bits = 2048}).private_key);
  ExpectRefused(files_.private_key, "is not the private key of the certificate");
}

TEST_F(TlsFilesTest, CertificateAndKeyInEachOthersPlace) {
  std::swap(files_.certificate, files_.private_key);
  ExpectRefused(files_.certificate, "no certificate in it");
}

TEST_F(TlsFilesTest, FilesOfSomethingElse) {
  for (const std::string& text : {std::string(), std::string("no PEM"), std::string(1000, '\0')}) {
    Write(files_.certificate, text);
    ExpectRefused(files_.certificate, "no certificate in it");
    Write(files_.certificate, pair_.certificate);
    Write(files_.private_key, text);
    ExpectRefused(files_.private_key, "no private key");
    Write(files_.private_key, pair_.private_key);
  }
}

TEST_F(TlsFilesTest, AnEncryptedKeyIsRefusedAndNoPassphraseIsAskedFor) {
  Write(files_.private_key, Encrypted(pair_.private_key));
  ExpectRefused(files_.private_key, "is encrypted");
}

TEST_F(TlsFilesTest, CutFiles) {
  const std::string chain = pair_.certificate + authority_.certificate();
  Write(files_.certificate, chain.substr(0, chain.size() - 40));
  ExpectRefused(files_.certificate, "certificate 2 cannot be read");
  Write(files_.certificate, pair_.certificate);
  Write(files_.private_key, pair_.private_key.substr(0, pair_.private_key.size() - 40));
  ExpectRefused(files_.private_key, "no private key");
}

TEST_F(TlsFilesTest, AKeyThatIsTooShort) {
  const CertificateAndKey weak = authority_.Issue({.name = "weak.test", .rsa_bits = 1024});
  Write(files_.certificate, weak.certificate);
  Write(files_.private_key, weak.private_key);
  ExpectRefused(files_.certificate, "key too small");
}

TEST_F(TlsFilesTest, RootsOfClientsThatAreNone) {
  files_.client_ca = folder_ + "/clients.crt";
  Write(files_.client_ca, "");
  ExpectRefused(files_.client_ca, "no certificate in it");
}

TEST_F(TlsFilesTest, AFileThatEverybodyMayWrite) {
  chmod(files_.private_key.c_str(), 0602);
  ExpectRefused(files_.private_key, "chmod o-w");
}

}  // namespace
}  // namespace sieve
