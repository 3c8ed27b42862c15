// SPDX-License-Identifier: Apache-2.0
// Sorts a file of records that is larger than the memory it may use.
//
//   example_external_sort [--mib 256] [--engine auto|kernel|user] [--directory /tmp] [--keep]
//
// The file and the scratch file are writable mappings of one pager whose budget is a quarter of
// the data: the program sorts through plain pointers as if all were in memory, and the pager
// evicts, writes back and fetches ahead. A merge sort, because it walks: runs of an eighth of the
// budget are sorted where they lie, then merged in one pass. The result is checked with a sum over
// all records and by their order, read back from the file with plain reads.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <queue>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "userfault/pager.h"

namespace {

struct Record {
  std::uint64_t key;
  std::uint64_t payload[3];
  bool operator<(const Record& other) const { return key < other.key; }
};

struct Settings {
  std::size_t mib = 256;
  userfault::EngineKind engine = userfault::EngineKind::kAutomatic;
  std::string directory = "/tmp";
  bool keep = false;
};

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "external_sort: %s\n", what.c_str());
  std::exit(1);
}

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const bool last = i + 1 == argc;
    if (name == "--keep") settings.keep = true;
    else if (last) die("usage: --mib N, --engine auto|kernel|user, --directory PATH, --keep");
    else if (name == "--mib") settings.mib = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--directory") settings.directory = argv[++i];
    else if (name == "--engine")
      settings.engine = argv[++i][0] == 'k' ? userfault::EngineKind::kKernel
                        : argv[i][0] == 'u' ? userfault::EngineKind::kUser
                                            : userfault::EngineKind::kAutomatic;
  }
  if (settings.mib == 0) die("--mib must be at least 1");
  return settings;
}

// What does not change by sorting, and whether the order is right.
struct Summary {
  std::uint64_t sum = 0;
  bool sorted = true;
  std::uint64_t last = 0;
  void add(const Record& record) {
    sum += record.key * 3 + record.payload[0] * 5 + record.payload[2] * 7;
    sorted = sorted && last <= record.key;
    last = record.key;
  }
};

Summary write_records(const std::string& path, std::size_t count) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) die("cannot write " + path);
  std::mt19937_64 random(42);
  Summary summary;
  for (std::size_t i = 0; i < count; ++i) {
    const Record record{random(), {i, ~i, i * i}};
    summary.add(record);
    if (std::fwrite(&record, sizeof record, 1, file) != 1) die("cannot write " + path);
  }
  if (std::fclose(file) != 0) die("cannot write " + path);
  return summary;
}

Summary read_records(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "r");
  if (file == nullptr) die("cannot read " + path);
  Summary summary;
  for (Record record; std::fread(&record, sizeof record, 1, file) == 1;) summary.add(record);
  std::fclose(file);
  return summary;
}

userfault::Mapping map_file(const userfault::Pager& pager, const std::string& path) {
  auto store = userfault::open_file_store(path, {.writable = true});
  if (!store) die(store.error().text);
  auto mapping = pager.map(std::move(*store), {.around = 16, .writable = true});
  if (!mapping) die(mapping.error().message());
  return std::move(*mapping);
}

std::span<Record> records_of(const userfault::Mapping& mapping) {
  return {reinterpret_cast<Record*>(mapping.data()), mapping.size() / sizeof(Record)};
}

// Merges sorted runs of `run` records each.
void merge(std::span<const Record> from, std::span<Record> to, std::size_t run) {
  using Head = std::pair<std::uint64_t, std::size_t>;  // a key, and where its record is
  std::priority_queue<Head, std::vector<Head>, std::greater<>> heads;
  for (std::size_t at = 0; at < from.size(); at += run) heads.emplace(from[at].key, at);
  for (Record& next : to) {
    const std::size_t at = heads.top().second;
    heads.pop();
    next = from[at];
    if (at + 1 < from.size() && (at + 1) % run != 0) heads.emplace(from[at + 1].key, at + 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  const std::size_t bytes = settings.mib << 20;
  const std::size_t budget = bytes / 4;
  const std::string base = settings.directory + "/userfault_sort." + std::to_string(::getpid());
  const std::string input = base + ".records";
  const std::string output = base + ".sorted";
  const Summary before = write_records(input, bytes / sizeof(Record));
  std::fclose(std::fopen(output.c_str(), "w"));
  if (::truncate(output.c_str(), static_cast<off_t>(bytes)) != 0) die("cannot make " + output);

  auto pager = userfault::Pager::create({.engine = settings.engine, .budget = budget});
  if (!pager) return std::fprintf(stderr, "%s\n", pager.error().message().c_str()), 77;
  const auto start = std::chrono::steady_clock::now();
  {
    auto from = map_file(*pager, input);
    auto to = map_file(*pager, output);
    const std::span<Record> records = records_of(from);
    const std::size_t run = budget / 8 / sizeof(Record);
    for (std::size_t at = 0; at < records.size(); at += run)
      std::sort(records.begin() + static_cast<std::ptrdiff_t>(at),
                records.begin() + static_cast<std::ptrdiff_t>(std::min(at + run, records.size())));
    merge(records, records_of(to), run);
    if (const auto closed = to.close(); !closed) die(closed.error().message());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const Summary after = read_records(output);
  const auto statistics = pager->statistics();
  std::printf("%zu MiB sorted with a budget of %zu MiB in %.2f s: %llu faults, %llu evictions, %llu MiB written\n",
              settings.mib, budget >> 20, took.count(), static_cast<unsigned long long>(statistics.faults),
              static_cast<unsigned long long>(statistics.evictions),
              static_cast<unsigned long long>(statistics.bytes_written >> 20));
  if (!settings.keep) {
    ::unlink(input.c_str());
    ::unlink(output.c_str());
  }
  if (!after.sorted || after.sum != before.sum) die("the result is WRONG");
  std::printf("sorted, and every record is there\n");
  return 0;
}
