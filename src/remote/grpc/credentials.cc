// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/credentials.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>

#include "remote/keys.h"

namespace echelon {
namespace {

constexpr std::size_t kFileBytesMax = 1u << 20;

Status refused(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument, std::move(message));
}

struct TlsFiles {
  std::string authority;
  std::string certificate;
  std::string key;
};

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

Bio open_text(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

Certificate parse_certificate(const std::string& text) {
  const Bio bio = open_text(text);
  Certificate found(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), &X509_free);
  ERR_clear_error();
  return found;
}

Key parse_key(const std::string& text) {
  const Bio bio = open_text(text);
  // No terminal is asked for a password: a key that has one is refused.
  auto no_password = [](char*, int, int, void*) { return 0; };
  Key found(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr), &EVP_PKEY_free);
  ERR_clear_error();
  return found;
}

Result<std::string> read_file(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || text.str().empty() || text.str().size() > kFileBytesMax) {
    const int error = errno;
    return refused(fmt::format(
        "{} cannot be read ({}); a TLS folder holds ca.pem, host.pem and host.key, as `echelon "
        "keys issue` makes them",
        path.string(),
        error != 0 ? std::generic_category().message(error) : "no readable PEM file"));
  }
  return std::move(text).str();
}

std::string date_text(const ASN1_TIME* time) {
  const Bio bio(BIO_new(BIO_s_mem()), &BIO_free);
  ASN1_TIME_print(bio.get(), time);
  std::string text(64, '\0');
  text.resize(static_cast<std::size_t>(
      std::max(0, BIO_read(bio.get(), text.data(), static_cast<int>(text.size())))));
  return text;
}

/// The other end would refuse it, in words that say less.
Status check_dates(const X509& certificate, const std::filesystem::path& file) {
  const ASN1_TIME* const from = X509_get0_notBefore(&certificate);
  const ASN1_TIME* const until = X509_get0_notAfter(&certificate);
  if (X509_cmp_current_time(until) < 0) {
    return refused(fmt::format("{} has expired, on {}: issue a new one (`echelon keys issue`)",
                               file.string(), date_text(until)));
  }
  if (X509_cmp_current_time(from) > 0) {
    return refused(fmt::format("{} is valid from {} on: is this machine's clock right?",
                               file.string(), date_text(from)));
  }
  return {};
}

Result<TlsFiles> read_tls_files(const std::filesystem::path& folder) {
  TlsFiles files;
  ECHELON_ASSIGN_OR_RETURN(files.authority, read_file(folder / "ca.pem"));
  ECHELON_ASSIGN_OR_RETURN(files.certificate, read_file(folder / "host.pem"));
  ECHELON_ASSIGN_OR_RETURN(files.key, read_file(folder / "host.key"));
  ECHELON_RETURN_IF_ERROR(check_secret((folder / "host.key").string()));
  if (!parse_certificate(files.authority)) {
    return refused(fmt::format("{}/ca.pem holds no certificate in PEM form", folder.string()));
  }
  const Certificate own = parse_certificate(files.certificate);
  if (!own) {
    return refused(fmt::format("{}/host.pem holds no certificate in PEM form", folder.string()));
  }
  ECHELON_RETURN_IF_ERROR(check_dates(*own, folder / "host.pem"));
  const Key key = parse_key(files.key);
  if (!key) {
    return refused(fmt::format("{}/host.key holds no private key in PEM form without a password",
                               folder.string()));
  }
  if (X509_check_private_key(own.get(), key.get()) != 1) {
    ERR_clear_error();
    return refused(
        fmt::format("{0}/host.key is not the key of {0}/host.pem: the two are of different issues",
                    folder.string()));
  }
  return files;
}

/// nullopt: plain text, which is allowed here.
Result<std::optional<TlsFiles>> tls_files(std::string_view address, const Credentials& given) {
  ECHELON_ASSIGN_OR_RETURN(const bool local, address_is_local(address));
  if (!given.tls_dir.empty()) {
    ECHELON_ASSIGN_OR_RETURN(TlsFiles files, read_tls_files(given.tls_dir));
    return std::optional<TlsFiles>(std::move(files));
  }
  if (!local && !given.insecure) {
    return refused(fmt::format(
        "{} can be reached from other machines, and there is no TLS: give a folder of keys "
        "(`echelon keys issue` makes one), or say `insecure` where the network itself is trusted",
        address));
  }
  return std::optional<TlsFiles>();
}

}  // namespace

Result<std::shared_ptr<grpc::ChannelCredentials>> make_channel_credentials(
    std::string_view address, const Credentials& given) {
  ECHELON_ASSIGN_OR_RETURN(auto files, tls_files(address, given));
  if (!files) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({.pem_root_certs = std::move(files->authority),
                               .pem_private_key = std::move(files->key),
                               .pem_cert_chain = std::move(files->certificate)});
}

Result<std::shared_ptr<grpc::ServerCredentials>> make_server_credentials(std::string_view address,
                                                                         const Credentials& given) {
  ECHELON_ASSIGN_OR_RETURN(auto files, tls_files(address, given));
  if (!files) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = std::move(files->authority);
  options.pem_key_cert_pairs.push_back(
      {.private_key = std::move(files->key), .cert_chain = std::move(files->certificate)});
  return grpc::SslServerCredentials(options);
}

}  // namespace echelon
