# SPDX-License-Identifier: Apache-2.0
# Every target installs what it needs first (scripts/install-deps.sh knows Debian and Ubuntu).
JOBS ?= $(shell nproc)

.PHONY: all configure run test bench install
all: configure
	cmake --build build -j $(JOBS)

configure:
	scripts/install-deps.sh
	cmake --preset release

test: all
	ctest --test-dir build --output-on-failure -j 1

install: all
	cmake --install build
