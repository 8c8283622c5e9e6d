// SPDX-License-Identifier: Apache-2.0
#include "remote/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace echelon {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate certificate_in(const fs::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "r");
  Certificate found(file != nullptr ? PEM_read_X509(file, nullptr, nullptr, nullptr) : nullptr,
                    &X509_free);
  if (file != nullptr) std::fclose(file);
  return found;
}

bool key_belongs(const fs::path& key_path, X509* certificate) {
  std::FILE* file = std::fopen(key_path.c_str(), "r");
  EVP_PKEY* key = file != nullptr ? PEM_read_PrivateKey(file, nullptr, nullptr, nullptr) : nullptr;
  if (file != nullptr) std::fclose(file);
  const bool belongs = key != nullptr && X509_check_private_key(certificate, key) == 1;
  EVP_PKEY_free(key);
  return belongs;
}

/// As TLS would: for a server or a client.
bool trusted(X509* certificate, X509* authority, int purpose) {
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, authority);
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, certificate, nullptr);
  X509_STORE_CTX_set_purpose(context, purpose);
  const bool well = X509_verify_cert(context) == 1;
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return well;
}

mode_t mode_of(const fs::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

int days_left(const X509* certificate) {
  int days = 0;
  int seconds = 0;
  ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate));
  return days;
}

class KeysTest : public testing::Test {
 protected:
  KeysTest() : root_(fs::temp_directory_path() / "echelon-keys-XXXXXX") {
    std::string made = root_.string();
    EXPECT_NE(::mkdtemp(made.data()), nullptr);
    root_ = made;
  }
  ~KeysTest() override { fs::remove_all(root_); }

  std::string authority() {
    const std::string folder = root_ / "authority";
    const Status made = make_authority(folder);
    EXPECT_TRUE(made.ok()) << made.to_string();
    return folder;
  }

  fs::path root_;
};

TEST_F(KeysTest, AnAuthoritySignsItselfForTenYears) {
  const fs::path folder = authority();
  EXPECT_THAT(names_in(folder), UnorderedElementsAre("ca.pem", "ca.key"));
  const auto certificate = certificate_in(folder / "ca.pem");
  ASSERT_NE(certificate, nullptr);
  EXPECT_NE(X509_check_ca(certificate.get()), 0);
  EXPECT_TRUE(key_belongs(folder / "ca.key", certificate.get()));
  EXPECT_NEAR(days_left(certificate.get()), 3650, 2);
}

TEST_F(KeysTest, SecretsAreTheOwnersAlone) {
  const ::mode_t before = ::umask(0);
  const fs::path folder = authority();
  const auto host = issue_host_keys({folder, "host1", {}, ""});
  ::umask(before);
  ASSERT_TRUE(host.ok()) << host.status().to_string();
  EXPECT_EQ(mode_of(folder), 0700u);
  EXPECT_EQ(mode_of(folder / "ca.key"), 0600u);
  EXPECT_EQ(mode_of(fs::path(*host) / "host.key"), 0600u);
  EXPECT_EQ(mode_of(fs::path(*host) / "host.pem"), 0644u);
}

TEST_F(KeysTest, AHostsCertificateIsTrustedAsServerAndAsClientForAYear) {
  const fs::path folder = authority();
  const auto host = issue_host_keys({folder, "host1.example", {"10.0.0.7", "fd00::7"}, ""});
  ASSERT_TRUE(host.ok()) << host.status().to_string();
  EXPECT_EQ(fs::path(*host), folder / "host1.example");
  EXPECT_THAT(names_in(*host), UnorderedElementsAre("ca.pem", "host.pem", "host.key"));
  const auto root = certificate_in(fs::path(*host) / "ca.pem");
  const auto certificate = certificate_in(fs::path(*host) / "host.pem");
  ASSERT_NE(certificate, nullptr);
  EXPECT_TRUE(trusted(certificate.get(), root.get(), X509_PURPOSE_SSL_SERVER));
  EXPECT_TRUE(trusted(certificate.get(), root.get(), X509_PURPOSE_SSL_CLIENT));
  EXPECT_EQ(X509_check_ca(certificate.get()), 0) << "a host can make no hosts";
  EXPECT_TRUE(key_belongs(fs::path(*host) / "host.key", certificate.get()));
  EXPECT_NEAR(days_left(certificate.get()), 365, 2);
}

TEST_F(KeysTest, ItsNamesAndAddressesAreThoseThatWereAskedFor) {
  const auto host =
      issue_host_keys({authority(), "host1.example", {"10.0.0.7", "fd00::7"}, root_ / "out"});
  ASSERT_TRUE(host.ok()) << host.status().to_string();
  const auto certificate = certificate_in(root_ / "out" / "host.pem");
  ASSERT_NE(certificate, nullptr);
  const auto named = [&](const char* name) {
    return X509_check_host(certificate.get(), name, 0, 0, nullptr) == 1;
  };
  const auto at = [&](const char* address) {
    return X509_check_ip_asc(certificate.get(), address, 0) == 1;
  };
  EXPECT_TRUE(named("host1.example"));
  EXPECT_FALSE(named("host2.example"));
  EXPECT_TRUE(at("10.0.0.7"));
  EXPECT_TRUE(at("fd00::7"));
  EXPECT_FALSE(at("10.0.0.8"));
}

TEST_F(KeysTest, AHostCanBeAnAddress) {
  const auto host = issue_host_keys({authority(), "127.0.0.1", {}, root_ / "out"});
  ASSERT_TRUE(host.ok()) << host.status().to_string();
  const auto certificate = certificate_in(root_ / "out" / "host.pem");
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "127.0.0.1", 0), 1);
}

TEST_F(KeysTest, AnotherAuthoritysHostIsNotTrusted) {
  const fs::path first = authority();
  const fs::path second = root_ / "second";
  ASSERT_TRUE(make_authority(second).ok());
  const auto host = issue_host_keys({second, "host1", {}, ""});
  ASSERT_TRUE(host.ok());
  const auto root = certificate_in(first / "ca.pem");
  const auto certificate = certificate_in(fs::path(*host) / "host.pem");
  EXPECT_FALSE(trusted(certificate.get(), root.get(), X509_PURPOSE_SSL_SERVER));
}

TEST_F(KeysTest, NothingIsOverwritten) {
  const std::string folder = authority();
  const Status again = make_authority(folder);
  EXPECT_EQ(again.reason(), Reason::kBadArgument);
  EXPECT_THAT(again.info().message, HasSubstr("ca.key exists"));
  ASSERT_TRUE(issue_host_keys({folder, "host1", {}, ""}).ok());
  EXPECT_THAT(issue_host_keys({folder, "host1", {}, ""}).status().info().message,
              HasSubstr("is not overwritten"));
}

TEST_F(KeysTest, ARefusalWritesNothing) {
  const std::string folder = authority();
  const fs::path out = root_ / "out";
  fs::create_directory(out);
  std::ofstream(out / "ca.pem") << "mine";
  EXPECT_FALSE(issue_host_keys({folder, "host1", {}, out}).ok());
  EXPECT_THAT(names_in(out), UnorderedElementsAre("ca.pem"));
}

TEST_F(KeysTest, NamesThatAreNoneAreRefused) {
  const std::string folder = authority();
  for (const char* name : {"", "a b", "host,IP:1.2.3.4", "-x", "a..b", "../up", "host\n"}) {
    EXPECT_FALSE(issue_host_keys({folder, name, {}, root_ / "out"}).ok()) << name;
  }
  EXPECT_THAT(issue_host_keys({folder, "host1", {"10.0.0"}, ""}).status().info().message,
              HasSubstr("'10.0.0' is no IP address"));
  EXPECT_FALSE(fs::exists(root_ / "out"));
}

TEST_F(KeysTest, WithoutAnAuthorityTheErrorSaysHowToMakeOne) {
  EXPECT_THAT(issue_host_keys({root_, "host1", {}, ""}).status().info().message,
              HasSubstr("echelon keys init"));
}

TEST_F(KeysTest, AKeyOfAnotherAuthorityIsRefused) {
  const fs::path folder = authority();
  const fs::path second = root_ / "second";
  ASSERT_TRUE(make_authority(second).ok());
  fs::copy_file(second / "ca.key", folder / "ca.key", fs::copy_options::overwrite_existing);
  EXPECT_THAT(issue_host_keys({folder, "host1", {}, ""}).status().info().message,
              HasSubstr("not the key of ca.pem"));
}

TEST_F(KeysTest, AKeyThatOthersCanReadIsRefusedWithTheCommandThatMendsIt) {
  const std::string folder = authority();
  const std::string key = folder + "/ca.key";
  fs::permissions(key, fs::perms::others_read, fs::perm_options::add);
  const auto refused = issue_host_keys({folder, "host1", {}, ""});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().info().message, HasSubstr("mode 0604"));
  EXPECT_THAT(refused.status().info().message, HasSubstr("run `chmod 600 " + key + "`"));
  fs::permissions(key, fs::perms::others_read, fs::perm_options::remove);
  EXPECT_TRUE(issue_host_keys({folder, "host1", {}, ""}).ok());
}

}  // namespace
}  // namespace echelon
