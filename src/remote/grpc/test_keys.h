// SPDX-License-Identifier: Apache-2.0
//
// Certificates for tests, made when they run: a folder that goes with the object.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace echelon {

struct TestKeyOptions {
  std::string host = "127.0.0.1";  // an IP address that the certificate is made out to
  bool expired = false;
};

class TestKeys {
 public:
  TestKeys();
  ~TestKeys();
  TestKeys(const TestKeys&) = delete;
  TestKeys& operator=(const TestKeys&) = delete;

  /// A folder with ca.pem, host.pem and host.key, signed by this object's authority.
  std::string issue(const TestKeyOptions& options);
  const std::filesystem::path& folder() const { return folder_; }

 private:
  struct Authority;

  std::filesystem::path folder_;
  std::unique_ptr<Authority> authority_;
  int issued_ = 0;
};

}  // namespace echelon
