// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/test_keys.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <stdexcept>

namespace echelon {
namespace {

namespace fs = std::filesystem;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

constexpr long kDay = 24L * 60 * 60;

void need(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  need(key != nullptr, "EVP_EC_gen");
  return key;
}

void add_extension(X509* certificate, X509* issuer, int id, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value);
  need(extension != nullptr, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

/// Valid from yesterday, or from last week to yesterday.
Certificate begin_certificate(EVP_PKEY* key, const char* name, long serial, bool expired) {
  Certificate made(X509_new(), &X509_free);
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), expired ? -7 * kDay : -kDay);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), expired ? -kDay : 7 * kDay);
  X509_set_pubkey(made.get(), key);
  X509_NAME* const subject = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  return made;
}

template <class Write>
void write_pem(const fs::path& path, Write write) {
  BIO* const file = BIO_new_file(path.c_str(), "w");
  need(file != nullptr, path.c_str());
  need(write(file) == 1, path.c_str());
  BIO_free(file);
}

}  // namespace

struct TestKeys::Authority {
  Key key = make_key();
  Certificate certificate{nullptr, &X509_free};

  Authority() {
    certificate = begin_certificate(key.get(), "test authority", 1, false);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
    add_extension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign");
    need(X509_sign(certificate.get(), key.get(), EVP_sha256()) != 0, "X509_sign");
  }
};

TestKeys::TestKeys() : authority_(std::make_unique<Authority>()) {
  std::string name = (fs::temp_directory_path() / "echelon-keys-XXXXXX").string();
  need(::mkdtemp(name.data()) != nullptr, "mkdtemp");
  folder_ = name;
}

TestKeys::~TestKeys() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string TestKeys::issue(const TestKeyOptions& options) {
  const fs::path folder = folder_ / ("host" + std::to_string(++issued_));
  fs::create_directory(folder);
  const Key key = make_key();
  const Certificate made = begin_certificate(key.get(), "test host", 1 + issued_, options.expired);
  X509* const authority = authority_->certificate.get();
  X509_set_issuer_name(made.get(), X509_get_subject_name(authority));
  const std::string names = "IP:" + options.host;
  add_extension(made.get(), authority, NID_subject_alt_name, names.c_str());
  need(X509_sign(made.get(), authority_->key.get(), EVP_sha256()) != 0, "X509_sign");
  write_pem(folder / "ca.pem", [&](BIO* file) { return PEM_write_bio_X509(file, authority); });
  write_pem(folder / "host.pem", [&](BIO* file) { return PEM_write_bio_X509(file, made.get()); });
  write_pem(folder / "host.key", [&](BIO* file) {
    return PEM_write_bio_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  fs::permissions(folder / "host.key", fs::perms::owner_read | fs::perms::owner_write);
  return folder.string();
}

}  // namespace echelon
