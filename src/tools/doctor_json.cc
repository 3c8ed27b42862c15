// SPDX-License-Identifier: Apache-2.0
// The findings for a program to read. man/userfault-doctor.1 lists the members.
#include <fmt/format.h>

#include <algorithm>

#include "tools/doctor.h"
#include "tools/json.h"

namespace userfault::tools {
namespace {

void error_member(Json& json, int error) {
  json.key("errno");
  error == 0 ? json.null() : json.string(errno_name(error));
}

void strings(Json& json, const char* key, const std::vector<const char*>& values) {
  json.key(key).open('[');
  for (const char* value : values) json.string(value);
  json.close(']');
}

void ways(Json& json, const Machine& machine) {
  json.key("ways").open('[');
  for (const Way& way : machine.ways) {
    json.open('{');
    json.key("door").string(way.door);
    json.key("user_mode_only").boolean(way.user_mode_only);
    json.key("opens").boolean(way.opens);
    error_member(json, way.error);
    json.key("killed").boolean(way.signal != 0);
    json.key("refused_by");
    way.refused_by == Refuser::kNone ? json.null() : json.string(name_of(way.refused_by));
    json.key("advice");
    way.refused_by == Refuser::kNone ? json.null() : json.string(advice_for(way.refused_by));
    json.close('}');
  }
  json.close(']');
  json.key("user_engine").open('{');
  json.key("opens").boolean(machine.user_engine_opens);
  error_member(json, machine.user_engine_error);
  json.close('}');
}

void features(Json& json, const Machine& machine) {
  json.key("features").open('[');
  for (const FeatureSupport& feature : machine.features) {
    json.open('{');
    json.key("name").string(feature.name);
    json.key("bit").number(static_cast<std::int64_t>(feature.bit.bits()));
    json.key("since").string(fmt::format("{}.{}", feature.since_major, feature.since_minor));
    json.key("offered").boolean(feature.offered);
    json.close('}');
  }
  json.close(']');
}

void registrations(Json& json, const Machine& machine) {
  json.key("register").open('[');
  for (const Registration& registration : machine.registrations) {
    json.open('{');
    json.key("backing").string(registration.backing);
    strings(json, "modes", names_of(registration.modes));
    json.key("mapped").boolean(registration.mapped);
    error_member(json, registration.error);
    json.key("ioctls").number(static_cast<std::int64_t>(registration.operations.bits()));
    strings(json, "operations", names_of(registration.operations));
    json.close('}');
  }
  json.close(']');
}

void facilities(Json& json, const Machine& machine) {
  json.key("facilities").open('{');
  for (const Facility& facility : machine.facilities) {
    json.key(facility.name).open('{');
    json.key("works").boolean(facility.works());
    error_member(json, facility.error);
    json.close('}');
  }
  json.close('}');
}

void settings(Json& json, const Machine& machine) {
  json.key("settings").open('{');
  for (const Setting& setting : machine.settings) {
    json.key(setting.name);
    const std::string& value = setting.value;
    const bool numeric = !value.empty() && value.size() < 19 &&
                         std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (value.empty()) json.null();
    else if (numeric) json.number(std::stoll(value));
    else json.string(value);
  }
  json.close('}');
}

}  // namespace

std::string doctor_json(const Machine& machine) {
  Json json;
  json.open('{');
  json.key("kernel").string(machine.kernel);
  json.key("engine");
  machine.engine == EngineKind::kAutomatic ? json.null() : json.string(name_of(machine.engine));
  json.key("why").string(machine.why);
  json.key("seccomp_mode").number(machine.seccomp_mode);
  json.key("cap_sys_ptrace").boolean(machine.may_trace);
  ways(json, machine);
  features(json, machine);
  registrations(json, machine);
  facilities(json, machine);
  settings(json, machine);
  json.close('}');
  return json.text();
}

}  // namespace userfault::tools
