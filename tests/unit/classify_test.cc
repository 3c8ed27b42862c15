// SPDX-License-Identifier: Apache-2.0
// Every row of the classifier, from facts: also those that this machine's kernel cannot show.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>

#include "engine/kernel/refusal_cause.h"
#include "userfault/abi.h"

namespace userfault::engine::kernel {
namespace {

constexpr int kUmo = USERFAULT_USER_MODE_ONLY;

// A kernel of today, built with userfaultfd, an ordinary user, no filter, the sysctl at 0.
Facts today(int error) {
  return {.method = OpenMethod::kSyscall,
          .answer = {.error = error},
          .seccomp_mode = 0,
          .sysctl = 0,
          .in_misc = true,
          .kernel = {6, 18}};
}

Facts device(int error) {
  Facts facts = today(error);
  facts.method = OpenMethod::kDevice;
  return facts;
}

struct Row {
  const char* what;
  Facts facts;
  Refuser expected;
};

template <typename Change>
Facts with(Facts facts, Change change) {
  change(facts);
  return facts;
}

class Classify : public testing::TestWithParam<Row> {};

TEST_P(Classify, Row) { EXPECT_EQ(name_of(classify(GetParam().facts)), name_of(GetParam().expected)); }

const Row kRows[] = {
    {"Works", today(0), Refuser::kNone},
    {"Killed",
     with(today(0),
          [](Facts& f) {
            f.answer.signal = SIGSYS;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"KilledWithoutProc",
     with(today(0),
          [](Facts& f) {
            f.answer.signal = SIGSYS;
            f.seccomp_mode = -1;
          }),
     Refuser::kSeccomp},
    {"Emfile", today(EMFILE), Refuser::kLimit},
    {"Enfile", today(ENFILE), Refuser::kLimit},
    {"Enomem", today(ENOMEM), Refuser::kLimit},
    {"Sysctl", today(EPERM), Refuser::kSysctl},
    {"SysctlWithoutProc", with(today(EPERM), [](Facts& f) { f.sysctl = -1; }), Refuser::kSysctl},
    {"SysctlBefore511AlsoForUserModeOnly",
     with(today(EPERM),
          [](Facts& f) {
            f.flags = kUmo;
            f.kernel = {5, 4};
          }),
     Refuser::kSysctl},
    {"FilterThoughTheSysctlAllows",
     with(today(EPERM),
          [](Facts& f) {
            f.sysctl = 1;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"FilterThoughPrivileged",
     with(today(EPERM),
          [](Facts& f) {
            f.may_trace = true;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"FilterThoughUserModeOnly",
     with(today(EPERM),
          [](Facts& f) {
            f.flags = kUmo;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"FilterAndSysctlAndUserModeOnlyIsRefusedToo",
     with(today(EPERM),
          [](Facts& f) {
            f.seccomp_mode = 2;
            f.opens_user_mode_only = Tristate::kNo;
          }),
     Refuser::kSeccomp},
    {"FilterAndSysctlAndUserModeOnlyOpens",
     with(today(EPERM),
          [](Facts& f) {
            f.seccomp_mode = 2;
            f.opens_user_mode_only = Tristate::kYes;
          }),
     Refuser::kSysctl},
    {"FilterAndSysctlBefore511",
     with(today(EPERM),
          [](Facts& f) {
            f.seccomp_mode = 2;
            f.kernel = {5, 4};
            f.opens_user_mode_only = Tristate::kNo;
          }),
     Refuser::kSysctl},
    {"EpermThatNobodyExplains", with(today(EPERM), [](Facts& f) { f.may_trace = true; }), Refuser::kNone},
    {"EnosysBuiltInBySysctl",
     with(today(ENOSYS),
          [](Facts& f) {
            f.in_misc = false;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"EnosysBuiltInByMisc",
     with(today(ENOSYS),
          [](Facts& f) {
            f.sysctl = -1;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"EnosysNotBuiltIn",
     with(today(ENOSYS),
          [](Facts& f) {
            f.sysctl = -1;
            f.in_misc = false;
          }),
     Refuser::kKernelConfig},
    {"EnosysNotBuiltInUnderAFilter",
     with(today(ENOSYS),
          [](Facts& f) {
            f.sysctl = -1;
            f.in_misc = false;
            f.seccomp_mode = 2;
          }),
     Refuser::kKernelConfig},
    {"EnosysBefore43",
     with(today(ENOSYS),
          [](Facts& f) {
            f.sysctl = -1;
            f.in_misc = false;
            f.kernel = {4, 2};
          }),
     Refuser::kKernelAge},
    {"EnosysUnderAFilterWhereNothingShows",
     with(today(ENOSYS),
          [](Facts& f) {
            f.sysctl = -1;
            f.in_misc = false;
            f.seccomp_mode = 2;
            f.kernel = {4, 18};
          }),
     Refuser::kSeccomp},
    {"EinvalUserModeOnlyBefore511",
     with(today(EINVAL),
          [](Facts& f) {
            f.flags = kUmo;
            f.kernel = {5, 10};
          }),
     Refuser::kKernelAge},
    {"EinvalUnknownFlag", with(today(EINVAL), [](Facts& f) { f.flags = O_APPEND; }), Refuser::kNone},
    {"EinvalByAFilter", with(today(EINVAL), [](Facts& f) { f.seccomp_mode = 2; }), Refuser::kSeccomp},
    {"Selinux", today(EACCES), Refuser::kSecurityModule},
    {"DeviceWorks", device(0), Refuser::kNone},
    {"DeviceMode", device(EACCES), Refuser::kDeviceMode},
    {"DeviceSelinux", with(device(EACCES), [](Facts& f) { f.device_accessible = true; }), Refuser::kSecurityModule},
    {"DeviceCgroup", device(EPERM), Refuser::kDeviceMode},
    {"DeviceIoctlFiltered",
     with(device(EPERM),
          [](Facts& f) {
            f.device_accessible = true;
            f.seccomp_mode = 2;
          }),
     Refuser::kSeccomp},
    {"DeviceNodeMissing", device(ENOENT), Refuser::kDeviceMode},
    {"DeviceBefore61",
     with(device(ENOENT),
          [](Facts& f) {
            f.in_misc = false;
            f.kernel = {5, 15};
          }),
     Refuser::kKernelAge},
    {"DeviceNotBuiltIn", with(device(ENOENT), [](Facts& f) { f.in_misc = false; }), Refuser::kKernelConfig},
    {"DeviceNodeWithoutDriver", with(device(ENXIO), [](Facts& f) { f.in_misc = false; }), Refuser::kKernelConfig},
    {"DeviceNodeWithoutDriverBefore61",
     with(device(ENODEV),
          [](Facts& f) {
            f.in_misc = false;
            f.kernel = {5, 15};
          }),
     Refuser::kKernelAge},
    {"DeviceLimit", device(EMFILE), Refuser::kLimit},
};

INSTANTIATE_TEST_SUITE_P(All, Classify, testing::ValuesIn(kRows), [](const auto& row) { return row.param.what; });

}  // namespace
}  // namespace userfault::engine::kernel
