// SPDX-License-Identifier: Apache-2.0
// Size and field offsets of every struct of abi.h, as numbers taken from Linux 6.18's headers.
#include <gtest/gtest.h>

#include <cstddef>
#include <type_traits>

#include "userfault/abi.h"

namespace {

static_assert(sizeof(userfault_msg) == 32);
static_assert(offsetof(userfault_msg, event) == 0);
static_assert(offsetof(userfault_msg, reserved1) == 1);
static_assert(offsetof(userfault_msg, reserved2) == 2);
static_assert(offsetof(userfault_msg, reserved3) == 4);
static_assert(offsetof(userfault_msg, arg) == 8);
static_assert(offsetof(userfault_msg, arg.pagefault.flags) == 8);
static_assert(offsetof(userfault_msg, arg.pagefault.address) == 16);
static_assert(offsetof(userfault_msg, arg.pagefault.feat.ptid) == 24);
static_assert(offsetof(userfault_msg, arg.fork.ufd) == 8);
static_assert(offsetof(userfault_msg, arg.remap.from) == 8);
static_assert(offsetof(userfault_msg, arg.remap.to) == 16);
static_assert(offsetof(userfault_msg, arg.remap.len) == 24);
static_assert(offsetof(userfault_msg, arg.remove.start) == 8);
static_assert(offsetof(userfault_msg, arg.remove.end) == 16);
static_assert(offsetof(userfault_msg, arg.reserved.reserved1) == 8);
static_assert(offsetof(userfault_msg, arg.reserved.reserved2) == 16);
static_assert(offsetof(userfault_msg, arg.reserved.reserved3) == 24);

static_assert(sizeof(userfault_api) == 24);
static_assert(offsetof(userfault_api, api) == 0);
static_assert(offsetof(userfault_api, features) == 8);
static_assert(offsetof(userfault_api, ioctls) == 16);

static_assert(sizeof(userfault_range) == 16);
static_assert(offsetof(userfault_range, start) == 0);
static_assert(offsetof(userfault_range, len) == 8);

static_assert(sizeof(userfault_register) == 32);
static_assert(offsetof(userfault_register, range) == 0);
static_assert(offsetof(userfault_register, mode) == 16);
static_assert(offsetof(userfault_register, ioctls) == 24);

static_assert(sizeof(userfault_copy) == 40);
static_assert(offsetof(userfault_copy, dst) == 0);
static_assert(offsetof(userfault_copy, src) == 8);
static_assert(offsetof(userfault_copy, len) == 16);
static_assert(offsetof(userfault_copy, mode) == 24);
static_assert(offsetof(userfault_copy, copy) == 32);

static_assert(sizeof(userfault_zeropage) == 32);
static_assert(offsetof(userfault_zeropage, range) == 0);
static_assert(offsetof(userfault_zeropage, mode) == 16);
static_assert(offsetof(userfault_zeropage, zeropage) == 24);

static_assert(sizeof(userfault_writeprotect) == 24);
static_assert(offsetof(userfault_writeprotect, range) == 0);
static_assert(offsetof(userfault_writeprotect, mode) == 16);

static_assert(sizeof(userfault_continue) == 32);
static_assert(offsetof(userfault_continue, range) == 0);
static_assert(offsetof(userfault_continue, mode) == 16);
static_assert(offsetof(userfault_continue, mapped) == 24);

static_assert(sizeof(userfault_poison) == 32);
static_assert(offsetof(userfault_poison, range) == 0);
static_assert(offsetof(userfault_poison, mode) == 16);
static_assert(offsetof(userfault_poison, updated) == 24);

static_assert(sizeof(userfault_move) == 40);
static_assert(offsetof(userfault_move, dst) == 0);
static_assert(offsetof(userfault_move, src) == 8);
static_assert(offsetof(userfault_move, len) == 16);
static_assert(offsetof(userfault_move, mode) == 24);
static_assert(offsetof(userfault_move, move) == 32);

static_assert(sizeof(userfault_page_region) == 24);
static_assert(offsetof(userfault_page_region, start) == 0);
static_assert(offsetof(userfault_page_region, end) == 8);
static_assert(offsetof(userfault_page_region, categories) == 16);

static_assert(sizeof(userfault_scan) == 96);
static_assert(offsetof(userfault_scan, size) == 0);
static_assert(offsetof(userfault_scan, flags) == 8);
static_assert(offsetof(userfault_scan, start) == 16);
static_assert(offsetof(userfault_scan, end) == 24);
static_assert(offsetof(userfault_scan, walk_end) == 32);
static_assert(offsetof(userfault_scan, vec) == 40);
static_assert(offsetof(userfault_scan, vec_len) == 48);
static_assert(offsetof(userfault_scan, max_pages) == 56);
static_assert(offsetof(userfault_scan, category_inverted) == 64);
static_assert(offsetof(userfault_scan, category_mask) == 72);
static_assert(offsetof(userfault_scan, category_anyof_mask) == 80);
static_assert(offsetof(userfault_scan, return_mask) == 88);

// The output fields are signed: a negated errno must compare below zero.
static_assert(std::is_signed_v<decltype(userfault_copy::copy)>);
static_assert(std::is_signed_v<decltype(userfault_zeropage::zeropage)>);
static_assert(std::is_signed_v<decltype(userfault_continue::mapped)>);
static_assert(std::is_signed_v<decltype(userfault_poison::updated)>);
static_assert(std::is_signed_v<decltype(userfault_move::move)>);

TEST(AbiLayout, StructsAreFreeOfPaddingAndCopyableAsBytes) {
  EXPECT_TRUE(std::has_unique_object_representations_v<userfault_copy>);
  EXPECT_TRUE(std::has_unique_object_representations_v<userfault_register>);
  EXPECT_TRUE(std::has_unique_object_representations_v<userfault_writeprotect>);
  EXPECT_TRUE(std::has_unique_object_representations_v<userfault_scan>);
  EXPECT_TRUE(std::is_trivially_copyable_v<userfault_msg>);
}

}  // namespace
