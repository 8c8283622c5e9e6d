// SPDX-License-Identifier: Apache-2.0
#include "remote/keys.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>

#include "base/fd.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

constexpr long kDaySeconds = 24 * 60 * 60;
constexpr long kAuthorityDays = 3650;
constexpr long kHostDays = 365;
/// A host whose clock is behind still takes a new certificate.
constexpr long kBackdatedSeconds = kDaySeconds;
constexpr int kSerialBits = 159;  // positive, and at most 20 bytes
constexpr std::size_t kDnsNameMax = 253;
constexpr std::size_t kCommonNameMax = 64;
constexpr mode_t kSecret = 0600;
constexpr mode_t kPublic = 0644;
constexpr mode_t kFolder = 0700;

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Number = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;

struct Pair {
  Certificate certificate;
  Key key;
};

Status refused(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument, std::move(message));
}

/// Of OpenSSL's own last words.
Status crypto_failed(std::string_view what) {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return Status::error(Code::kInternal, Reason::kSystem, fmt::format("{}: {}", what, text.data()));
}

// --- certificates
// ---------------------------------------------------------------------------------

struct Subject {
  std::string name;
  long days = 0;
  bool authority = false;
  std::string alternative_names;  // "DNS:host1,IP:10.0.0.7"
};

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_nconf_nid(nullptr, &context, kind, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_extensions(X509* certificate, X509* issuer, const Subject& subject) {
  const auto add = [&](int kind, const std::string& value) {
    return add_extension(certificate, issuer, kind, value);
  };
  const bool common =
      add(NID_subject_key_identifier, "hash") && add(NID_authority_key_identifier, "keyid:always");
  if (subject.authority) {
    return common && add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add(NID_key_usage, "critical,keyCertSign,cRLSign");
  }
  return common && add(NID_basic_constraints, "critical,CA:FALSE") &&
         add(NID_key_usage, "critical,digitalSignature") &&
         add(NID_ext_key_usage, "serverAuth,clientAuth") &&
         add(NID_subject_alt_name, subject.alternative_names);
}

bool set_serial(X509* certificate) {
  const Number number(BN_new());
  return number != nullptr &&
         BN_rand(number.get(), kSerialBits, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

/// `issuer` nullptr: signed by itself.
Result<Pair> make_pair(const Subject& subject, const Pair* issuer) {
  Pair made{Certificate(X509_new()), Key(EVP_EC_gen("P-256"))};
  X509* const certificate = made.certificate.get();
  if (certificate == nullptr || made.key == nullptr) return crypto_failed("a key cannot be made");
  X509* const by = issuer != nullptr ? issuer->certificate.get() : certificate;
  EVP_PKEY* const signing = issuer != nullptr ? issuer->key.get() : made.key.get();
  const std::string name = subject.name.substr(0, kCommonNameMax);
  const auto* const text = reinterpret_cast<const unsigned char*>(name.data());
  const bool well =
      X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
      X509_gmtime_adj(X509_getm_notBefore(certificate), -kBackdatedSeconds) != nullptr &&
      X509_gmtime_adj(X509_getm_notAfter(certificate), subject.days * kDaySeconds) != nullptr &&
      X509_set_pubkey(certificate, made.key.get()) == 1 &&
      X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, text,
                                 static_cast<int>(name.size()), -1, 0) == 1 &&
      X509_set_issuer_name(certificate, X509_get_subject_name(by)) == 1 &&
      add_extensions(certificate, by, subject) &&
      X509_sign(certificate, signing, EVP_sha256()) != 0;
  if (!well) return crypto_failed(fmt::format("a certificate for {} cannot be made", subject.name));
  return made;
}

// --- files
// ----------------------------------------------------------------------------------------

std::string text_of(const Bio& bio) {
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(bytes)};
}

Result<std::string> pem_of(const X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) == 1) return text_of(bio);
  return crypto_failed("a certificate cannot be written");
}

Result<std::string> pem_of(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1) {
    return text_of(bio);
  }
  return crypto_failed("a key cannot be written");
}

/// Files that are written together, or not at all.
class NewFiles {
 public:
  explicit NewFiles(const fs::path& folder) : folder_(folder.lexically_normal()) {
    if (!folder_.has_filename()) folder_ = folder_.parent_path();  // "keys/"
  }
  ~NewFiles() {
    for (const fs::path& path : written_) ::unlink(path.c_str());
  }
  NewFiles(const NewFiles&) = delete;
  NewFiles& operator=(const NewFiles&) = delete;

  void add(std::string name, std::string text, mode_t mode) {
    wanted_.push_back({std::move(name), std::move(text), mode});
  }
  Status write() {
    ECHELON_RETURN_IF_ERROR(check());
    std::error_code failed;
    if (!fs::exists(folder_)) {
      if (folder_.has_parent_path()) fs::create_directories(folder_.parent_path(), failed);
      if (failed || ::mkdir(folder_.c_str(), kFolder) != 0) {
        return Status::from_errno(failed ? failed.value() : errno,
                                  fmt::format("mkdir({})", folder_.string()));
      }
    }
    for (const Wanted& file : wanted_) ECHELON_RETURN_IF_ERROR(write_one(file));
    written_.clear();  // they stay
    return {};
  }

 private:
  struct Wanted {
    std::string name;
    std::string text;
    mode_t mode = kSecret;
  };
  // Before anything is made.
  Status check() const {
    for (const Wanted& file : wanted_) {
      const fs::path path = folder_ / file.name;
      if (!fs::exists(fs::symlink_status(path))) continue;
      return refused(
          fmt::format("{} exists, and is not overwritten: name another folder, or move "
                      "it away first",
                      path.string()));
    }
    return {};
  }
  Status write_one(const Wanted& file) {
    const fs::path path = folder_ / file.name;
    const UniqueFd fd(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, file.mode));
    if (!fd) return Status::from_errno(errno, fmt::format("open({})", path.string()));
    written_.push_back(path);
    // Whatever the umask: a secret is one, and a certificate can be read.
    const bool well = ::fchmod(fd.get(), file.mode) == 0 &&
                      ::write(fd.get(), file.text.data(), file.text.size()) ==
                          static_cast<ssize_t>(file.text.size()) &&
                      ::fsync(fd.get()) == 0;
    if (!well) return Status::from_errno(errno, fmt::format("write({})", path.string()));
    return {};
  }

  fs::path folder_;
  std::vector<Wanted> wanted_;
  std::vector<fs::path> written_;
};

Result<std::string> read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (file) return text.str();
  return refused(fmt::format("{} cannot be read; `echelon keys init {}` makes an authority",
                             path.string(), path.parent_path().string()));
}

Bio bio_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<Pair> read_authority(const fs::path& folder) {
  ECHELON_ASSIGN_OR_RETURN(const std::string certificate, read_text(folder / "ca.pem"));
  ECHELON_ASSIGN_OR_RETURN(const std::string key, read_text(folder / "ca.key"));
  ECHELON_RETURN_IF_ERROR(check_secret((folder / "ca.key").string()));
  auto no_password = [](char*, int, int, void*) { return 0; };
  Pair read{Certificate(PEM_read_bio_X509(bio_of(certificate).get(), nullptr, nullptr, nullptr)),
            Key(PEM_read_bio_PrivateKey(bio_of(key).get(), nullptr, no_password, nullptr))};
  ERR_clear_error();
  if (read.certificate == nullptr || read.key == nullptr ||
      X509_check_ca(read.certificate.get()) == 0) {
    return refused(fmt::format("{}: ca.pem and ca.key are no authority's certificate and key",
                               folder.string()));
  }
  if (X509_check_private_key(read.certificate.get(), read.key.get()) != 1) {
    ERR_clear_error();
    return refused(
        fmt::format("{}: ca.key is not the key of ca.pem's certificate", folder.string()));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(read.certificate.get())) < 0) {
    return refused(
        fmt::format("{}: this authority has expired; make a new one in another folder, "
                    "and issue every host's keys again",
                    folder.string()));
  }
  return read;
}

// --- names
// ----------------------------------------------------------------------------------------

bool is_ip(const std::string& text) {
  in6_addr v6{};
  in_addr v4{};
  return ::inet_pton(AF_INET, text.c_str(), &v4) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), &v6) == 1;
}

bool is_dns_name(const std::string& text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  };
  return !text.empty() && text.size() <= kDnsNameMax && text.front() != '.' &&
         text.front() != '-' && text.find("..") == std::string::npos &&
         std::all_of(text.begin(), text.end(), allowed);
}

Result<std::string> alternative_names(const HostKeysWanted& wanted) {
  if (!is_ip(wanted.host) && !is_dns_name(wanted.host)) {
    return refused(
        fmt::format("'{}' is neither a host's name nor an IP address; write what the parents of "
                    "its daemon call it",
                    wanted.host));
  }
  std::string names = (is_ip(wanted.host) ? "IP:" : "DNS:") + wanted.host;
  for (const std::string& address : wanted.addresses) {
    if (!is_ip(address)) {
      return refused(fmt::format("'{}' is no IP address; write 10.0.0.7 or fd00::7", address));
    }
    names += ",IP:" + address;
  }
  return names;
}

}  // namespace

Status check_secret(const std::string& file) {
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0 || (found.st_mode & 077) == 0) return {};
  return refused(
      fmt::format("{} is a private key, and others than its owner can read or change it (mode "
                  "{:04o}): run `chmod 600 {}`",
                  file, found.st_mode & 07777, file));
}

Status make_authority(const std::string& folder) {
  ECHELON_ASSIGN_OR_RETURN(
      const Pair made, make_pair({"Echelon private authority", kAuthorityDays, true, ""}, nullptr));
  ECHELON_ASSIGN_OR_RETURN(std::string certificate, pem_of(made.certificate.get()));
  ECHELON_ASSIGN_OR_RETURN(std::string key, pem_of(made.key.get()));
  NewFiles files(folder);
  files.add("ca.key", std::move(key), kSecret);
  files.add("ca.pem", std::move(certificate), kPublic);
  return files.write();
}

Result<std::string> issue_host_keys(const HostKeysWanted& wanted) {
  ECHELON_ASSIGN_OR_RETURN(std::string names, alternative_names(wanted));
  ECHELON_ASSIGN_OR_RETURN(const Pair authority, read_authority(wanted.authority));
  ECHELON_ASSIGN_OR_RETURN(
      const Pair made, make_pair({wanted.host, kHostDays, false, std::move(names)}, &authority));
  ECHELON_ASSIGN_OR_RETURN(std::string root, pem_of(authority.certificate.get()));
  ECHELON_ASSIGN_OR_RETURN(std::string certificate, pem_of(made.certificate.get()));
  ECHELON_ASSIGN_OR_RETURN(std::string key, pem_of(made.key.get()));
  const fs::path folder =
      wanted.out.empty() ? fs::path(wanted.authority) / wanted.host : fs::path(wanted.out);
  NewFiles files(folder);
  files.add("host.key", std::move(key), kSecret);
  files.add("host.pem", std::move(certificate), kPublic);
  files.add("ca.pem", std::move(root), kPublic);
  ECHELON_RETURN_IF_ERROR(files.write());
  return folder.string();
}

}  // namespace echelon
