// SPDX-License-Identifier: Apache-2.0
#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/check.h"

namespace echelon {
namespace {

/// Before any other call of OpenSSL, which otherwise clears up when the process exits, whatever
/// other threads do: one of gRPC's that is at a TLS handshake then would crash a program that has
/// ended well. The kernel takes the memory back.
[[maybe_unused]] const bool no_cleanup =
    ::OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr) == 1;

/// Looked up once: OpenSSL otherwise looks for a provider of it at each digest, which takes longer
/// than a small digest itself.
const EVP_MD* algorithm() {
  static const EVP_MD* const found = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
  ECHELON_CHECK(found != nullptr);
  return found;
}

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* evp = ::EVP_MD_CTX_new();
  Context() { begin(); }
  ~Context() { ::EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  void begin() { ECHELON_CHECK(::EVP_DigestInit_ex(evp, algorithm(), nullptr) == 1); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  ECHELON_CHECK(::EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

void Sha256::update(std::string_view text) {
  update(std::as_bytes(std::span(text)));
}

Digest Sha256::finish() {
  Digest digest{};
  unsigned size = 0;
  auto* out = reinterpret_cast<unsigned char*>(digest.data());
  ECHELON_CHECK(::EVP_DigestFinal_ex(context_->evp, out, &size) == 1 && size == digest.size(),
                size);
  context_->begin();
  return digest;
}

Digest sha256(std::span<const std::byte> bytes) {
  Digest digest{};
  unsigned size = 0;
  auto* out = reinterpret_cast<unsigned char*>(digest.data());
  ECHELON_CHECK(::EVP_Digest(bytes.data(), bytes.size(), out, &size, algorithm(), nullptr) == 1 &&
                    size == digest.size(),
                size);
  return digest;
}

Digest sha256(std::string_view text) {
  return sha256(std::as_bytes(std::span(text)));
}

std::string to_hex(const Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(2 * digest.size(), '0');
  char* out = text.data();
  for (const std::byte byte : digest) {
    const auto value = std::to_integer<unsigned>(byte);
    *out++ = kDigits[value >> 4];
    *out++ = kDigits[value & 15];
  }
  return text;
}

}  // namespace echelon
