// SPDX-License-Identifier: Apache-2.0
// A breadth-first search over a graph in a file that is larger than the memory it may use.
//
//   example_bfs [--vertices 4000000] [--degree 16] [--engine auto|kernel|user] [--directory /tmp]
//
// The graph lies in the file as rows of neighbours (`degree` numbers of four bytes a vertex) and is
// mapped by a pager with a budget of a quarter of it. Half of a vertex's edges go near it and half
// anywhere, so the search both walks and jumps. The distances are compared with those of the same
// search over the same edges made anew in memory, without the file.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "userfault/pager.h"

namespace {

using Vertex = std::uint32_t;
constexpr std::uint32_t kUnseen = UINT32_MAX;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "bfs: %s\n", what.c_str());
  std::exit(1);
}

struct Settings {
  Vertex vertices = 4'000'000;
  std::uint32_t degree = 16;
  userfault::EngineKind engine = userfault::EngineKind::kAutomatic;
  std::string directory = "/tmp";
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--vertices") settings.vertices = static_cast<Vertex>(std::stoul(value));
    else if (name == "--degree") settings.degree = static_cast<std::uint32_t>(std::stoul(value));
    else if (name == "--directory") settings.directory = value;
    else if (name == "--engine")
      settings.engine = value == "kernel" ? userfault::EngineKind::kKernel
                        : value == "user" ? userfault::EngineKind::kUser
                                          : userfault::EngineKind::kAutomatic;
    else die("usage: --vertices N, --degree N, --engine auto|kernel|user, --directory PATH");
  }
  if (settings.vertices < 16 || settings.degree == 0) die("a graph of fewer than 16 vertices, or without edges");
  return settings;
}

// The edge is a function of its number, so the graph can be made twice without being kept.
Vertex neighbour(const Settings& graph, Vertex vertex, std::uint32_t edge) {
  std::uint64_t mixed = (std::uint64_t{vertex} * graph.degree + edge + 1) * 0x9E3779B97F4A7C15u;
  mixed = (mixed ^ (mixed >> 31)) * 0xBF58476D1CE4E5B9u;
  mixed ^= mixed >> 29;
  if (edge % 2 == 0) return static_cast<Vertex>((vertex + mixed % 1024) % graph.vertices);
  return static_cast<Vertex>(mixed % graph.vertices);
}

void write_graph(const Settings& graph, const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) die("cannot write " + path);
  std::vector<Vertex> row(graph.degree);
  for (Vertex vertex = 0; vertex < graph.vertices; ++vertex) {
    for (std::uint32_t edge = 0; edge < graph.degree; ++edge) row[edge] = neighbour(graph, vertex, edge);
    if (std::fwrite(row.data(), sizeof(Vertex), row.size(), file) != row.size()) die("cannot write " + path);
  }
  if (std::fclose(file) != 0) die("cannot write " + path);
}

// The distance of every vertex from vertex 0; `edge_of` tells where an edge goes.
template <typename EdgeOf>
std::vector<std::uint32_t> search(const Settings& graph, EdgeOf edge_of) {
  std::vector<std::uint32_t> distance(graph.vertices, kUnseen);
  std::vector<Vertex> now{0};
  distance[0] = 0;
  for (std::uint32_t level = 1; !now.empty(); ++level) {
    std::vector<Vertex> next;
    for (const Vertex vertex : now)
      for (std::uint32_t edge = 0; edge < graph.degree; ++edge) {
        const Vertex to = edge_of(vertex, edge);
        if (distance[to] != kUnseen) continue;
        distance[to] = level;
        next.push_back(to);
      }
    now = std::move(next);
  }
  return distance;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings graph = parse(argc, argv);
  const std::string path = graph.directory + "/userfault_bfs." + std::to_string(::getpid());
  write_graph(graph, path);
  const auto store = userfault::open_file_store(path);
  ::unlink(path.c_str());  // the open store keeps the file
  if (!store) die(store.error().text);
  const std::uint64_t budget = ((*store)->size() / 4 + 65535) & ~std::uint64_t{65535};
  auto pager = userfault::Pager::create({.engine = graph.engine, .budget = budget});
  if (!pager) return std::fprintf(stderr, "%s\n", pager.error().message().c_str()), 77;
  const auto mapping = pager->map(*store);
  if (!mapping) die(mapping.error().message());

  const auto start = std::chrono::steady_clock::now();
  const auto* const rows = reinterpret_cast<const Vertex*>(mapping->data());
  const auto distances =
      search(graph, [&](Vertex vertex, std::uint32_t edge) { return rows[std::size_t{vertex} * graph.degree + edge]; });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const auto statistics = pager->statistics();
  std::printf("%u vertices, %llu KiB of edges, a budget of %llu KiB: %.2f s, %llu faults, %llu evictions\n",
              graph.vertices, static_cast<unsigned long long>((*store)->size() >> 10),
              static_cast<unsigned long long>(budget >> 10), took.count(),
              static_cast<unsigned long long>(statistics.faults),
              static_cast<unsigned long long>(statistics.evictions));
  const auto expected =
      search(graph, [&](Vertex vertex, std::uint32_t edge) { return neighbour(graph, vertex, edge); });
  if (distances != expected) die("the distances are WRONG");
  std::printf("every distance is right\n");
  return 0;
}
