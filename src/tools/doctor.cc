// SPDX-License-Identifier: Apache-2.0
// userfault doctor: what this machine offers, and who refuses what it does not.
#include "tools/doctor.h"
#include "tools/options.h"

#include <fmt/core.h>

#include <cstdio>
#include <cstring>

#include "tools/command.h"
#include "tools/last_error.h"

namespace userfault::tools {
namespace {

bool write_file(const std::string& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && written;
}

class Doctor final : public Command {
 public:
  const char* name() const override { return "doctor"; }
  const char* summary() const override { return "say what this machine offers and who refuses the rest"; }

  void add_options(OptionSet& options) override {
    options.add("--engine", engine_, "whose features and ranges to show: auto (default), kernel or user")
        .one_of({"auto", "kernel", "user"});
    options.add("--json", json_, "also write the findings to this file (- for standard output, and no table)");
  }

  int run() override {
    const Machine machine = probe_machine(engine_ == "kernel" ? EngineKind::kKernel
                                          : engine_ == "user" ? EngineKind::kUser
                                                              : EngineKind::kAutomatic);
    if (json_ == "-") {
      fmt::print("{}", doctor_json(machine));
    } else {
      fmt::print("{}", doctor_table(machine));
      if (!json_.empty() && !write_file(json_, doctor_json(machine))) {
        fmt::print(stderr, "userfault doctor: cannot write {}: {}\n", json_, last_error());
        return 1;
      }
    }
    // That no engine opens is what a script wants to know.
    return machine.engine == EngineKind::kAutomatic ? 1 : 0;
  }

 private:
  std::string engine_ = "auto";
  std::string json_;
};

}  // namespace

std::string errno_name(int error) {
  const char* const name = ::strerrorname_np(error);
  return name != nullptr ? name : std::to_string(error);
}

std::unique_ptr<Command> make_doctor_command() { return std::make_unique<Doctor>(); }

}  // namespace userfault::tools
