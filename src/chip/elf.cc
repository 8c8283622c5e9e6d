// SPDX-License-Identifier: Apache-2.0
#include "chip/elf.h"

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include <fmt/format.h>

namespace echelon {
namespace {

#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
constexpr const char* kMachineName = "x86-64";
#elif defined(__aarch64__)
constexpr Elf64_Half kMachine = EM_AARCH64;
constexpr const char* kMachineName = "AArch64";
#else
#error "chip images: name this machine's ELF number here"
#endif

Status refuse(std::string what) {
  return Status::error(Code::kInvalidArgument, Reason::kImage, std::move(what));
}

/// A struct at an offset, if all of it lies in the file.
template <class T>
std::optional<T> read_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// The NUL-terminated text at an offset of a string table.
std::optional<std::string_view> text_at(std::span<const std::byte> table, std::uint64_t offset) {
  if (offset >= table.size()) return std::nullopt;
  const auto* begin = reinterpret_cast<const char*>(table.data()) + offset;
  const std::size_t bytes = ::strnlen(begin, table.size() - offset);
  if (bytes == table.size() - offset) return std::nullopt;
  return std::string_view(begin, bytes);
}

std::optional<std::span<const std::byte>> section_bytes(std::span<const std::byte> bytes,
                                                        const Elf64_Shdr& section) {
  if (section.sh_offset > bytes.size() || section.sh_size > bytes.size() - section.sh_offset) {
    return std::nullopt;
  }
  return bytes.subspan(section.sh_offset, section.sh_size);
}

Result<Elf64_Ehdr> check_header(std::span<const std::byte> bytes) {
  const auto header = read_at<Elf64_Ehdr>(bytes, 0);
  if (bytes.size() < EI_NIDENT || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0) {
    return refuse("it is no ELF file");
  }
  if (!header || header->e_ident[EI_CLASS] != ELFCLASS64 ||
      header->e_ident[EI_DATA] != ELFDATA2LSB) {
    return refuse("it is no 64-bit little-endian ELF file");
  }
  if (header->e_machine != kMachine) {
    return refuse(fmt::format("it is for another machine (ELF number {}); this one is {} ({})",
                              header->e_machine, kMachineName, kMachine));
  }
  if (header->e_type != ET_DYN) {
    return refuse(header->e_type == ET_REL
                      ? "it is an object file, not a shared object (link it with -shared)"
                      : "it is an executable, not a shared object");
  }
  if (header->e_shoff == 0 || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return refuse("it has no section headers");
  }
  return *header;
}

bool exported_function(const Elf64_Sym& symbol) {
  const auto bind = ELF64_ST_BIND(symbol.st_info);
  const auto visibility = ELF64_ST_VISIBILITY(symbol.st_other);
  return symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
         (bind == STB_GLOBAL || bind == STB_WEAK) &&
         (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
}

}  // namespace

Result<std::vector<std::string>> exported_functions(std::span<const std::byte> bytes) {
  ECHELON_ASSIGN_OR_RETURN(const Elf64_Ehdr header, check_header(bytes));
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < header.e_shnum; ++i) {
    const auto section = read_at<Elf64_Shdr>(bytes, header.e_shoff + i * sizeof(Elf64_Shdr));
    if (!section) return refuse("its section headers lie outside the file");
    if (section->sh_type != SHT_DYNSYM) continue;
    const auto linked =
        read_at<Elf64_Shdr>(bytes, header.e_shoff + section->sh_link * sizeof(Elf64_Shdr));
    const auto symbols = section_bytes(bytes, *section);
    const auto texts = linked ? section_bytes(bytes, *linked) : std::nullopt;
    if (!symbols || !texts || section->sh_link >= header.e_shnum) {
      return refuse("its dynamic symbols lie outside the file");
    }
    for (std::uint64_t at = 0; at < symbols->size(); at += sizeof(Elf64_Sym)) {
      const auto symbol = read_at<Elf64_Sym>(*symbols, at);
      if (!symbol) break;
      if (!exported_function(*symbol)) continue;
      const auto name = text_at(*texts, symbol->st_name);
      if (!name) return refuse("a symbol's name lies outside the file");
      names.emplace_back(*name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace echelon
