// SPDX-License-Identifier: Apache-2.0
#include "chip/compile.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "chip/driver_loader.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

/// Of the compiler's output; the first errors are the ones that matter.
constexpr std::size_t kOutputBytesMax = 16 * 1024;

Status image_error(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kImage, std::move(message));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool executable(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

/// The file that a command means: itself if it has a "/", else found in $PATH. Empty: none.
std::string resolve(const std::string& command) {
  if (command.find('/') != std::string::npos) return executable(command) ? command : "";
  std::istringstream folders(environment("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && executable(fs::path(folder) / command)) {
      return (fs::path(folder) / command).string();
    }
  }
  return "";
}

/// "ccache g++ -m64" is a command with arguments. Empty path: it does not exist.
CompilerCommand parse_command(const std::string& text) {
  std::istringstream words(text);
  CompilerCommand command;
  std::string word;
  if (words >> word) command.path = resolve(word);
  while (words >> word) command.arguments.push_back(word);
  return command;
}

/// A private folder, removed with all it holds.
class ScratchFolder {
 public:
  static Result<ScratchFolder> make() {
    const std::string base = environment("TMPDIR");
    std::string name = (base.empty() ? "/tmp" : base) + "/echelon-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) return Status::from_errno(errno, "mkdtemp " + name);
    return ScratchFolder(std::move(name));
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, fs::path())) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  const fs::path& path() const { return path_; }

 private:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

std::string as_literal(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result + '"';
}

std::vector<std::string> arguments_of(const CompilerCommand& compiler, const fs::path& folder,
                                      const CompileOptions& options, const std::string& include) {
  std::vector<std::string> arguments = {compiler.path};
  const auto append = [&arguments](const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
  };
  append(compiler.arguments);
  append(
      {"-x", "c++", "-std=c++20", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-I", include});
  for (const std::string& path : options.include_folders) append({"-I", path});
  append(options.flags);
  append({"-o", (folder / "image.so").string(), (folder / "source.cc").string()});
  return arguments;
}

/// The environment with TMPDIR changed, so that the compiler's own files lie in `folder`, too.
std::vector<std::string> environment_with(const fs::path& folder) {
  std::vector<std::string> variables = {"TMPDIR=" + folder.string()};
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    if (!std::string_view(*at).starts_with("TMPDIR=")) variables.emplace_back(*at);
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Runs a program to its end, its output in a file. Returns its exit status, or -1 where somebody
/// else has reaped it (a user's wait(-1), or an ignored SIGCHLD): the caller looks at the files.
Result<int> run_program(std::vector<std::string> arguments, const fs::path& folder) {
  std::vector<std::string> variables = environment_with(folder);
  const std::string output = (folder / "output.txt").string();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, arguments.front().c_str(), &actions, nullptr,
                                  pointers(arguments).data(), pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::from_errno(error, "posix_spawn " + arguments.front());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return status;
}

std::string read_output(const fs::path& folder) {
  std::ifstream file(folder / "output.txt", std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  // The folder's name is of no use to anybody.
  const std::string prefix = folder.string() + "/";
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at)) {
    text.erase(at, prefix.size());
  }
  if (text.size() > kOutputBytesMax) {
    text.resize(kOutputBytesMax);
    text += "\n[...]";
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

Result<CompilerCommand> find_compiler_command() {
  if (const std::string chosen = environment("ECHELON_CXX"); !chosen.empty()) {
    CompilerCommand command = parse_command(chosen);
    if (!command.path.empty()) return command;
    return image_error(
        fmt::format("no C++ compiler: ECHELON_CXX is '{}', which does not exist", chosen));
  }
  std::string looked_for;
  for (const std::string& text :
       {environment("CXX"), std::string("c++"), std::string("g++"), std::string("clang++")}) {
    if (text.empty()) continue;
    CompilerCommand command = parse_command(text);
    if (!command.path.empty()) return command;
    looked_for += (looked_for.empty() ? "" : ", ") + text;
  }
  return image_error(
      fmt::format("no C++ compiler: looked for {} in PATH ({}); install one, or set ECHELON_CXX",
                  looked_for, environment("PATH")));
}

Result<std::vector<std::byte>> compile_shared_object(std::string_view source,
                                                     const CompileOptions& options) {
  ECHELON_ASSIGN_OR_RETURN(const CompilerCommand compiler, find_compiler_command());
  ECHELON_ASSIGN_OR_RETURN(const std::string include, find_include_folder());
  ECHELON_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::make());
  const fs::path& folder = scratch.path();
  {
    std::ofstream file(folder / "source.cc", std::ios::binary);
    file << "#line 1 " << as_literal(options.file_name) << '\n' << source << '\n';
    if (!file.flush()) return Status::from_errno(errno, "writing " + folder.string());
  }
  ECHELON_ASSIGN_OR_RETURN(const int status,
                           run_program(arguments_of(compiler, folder, options, include), folder));
  std::ifstream built(folder / "image.so", std::ios::binary);
  if ((status != 0 && status != -1) || !built) {
    return image_error(fmt::format("{} does not compile with {}:\n{}", options.file_name,
                                   compiler.path, read_output(folder)));
  }
  const std::string text(std::istreambuf_iterator<char>(built), {});
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return std::vector<std::byte>(begin, begin + text.size());
}

}  // namespace echelon
