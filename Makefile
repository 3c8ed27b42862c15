# SPDX-License-Identifier: Apache-2.0
# Every target installs what it needs first (scripts/install-deps.sh knows Debian and Ubuntu) and
# builds what it uses. Variables: JOBS, PREFIX and DESTDIR (install), CTEST_ARGS, STRESS_REPEAT.
JOBS ?= $(shell nproc)
CCACHE := $(shell command -v ccache)
export CMAKE_C_COMPILER_LAUNCHER ?= $(CCACHE)
export CMAKE_CXX_COMPILER_LAUNCHER ?= $(CCACHE)
export JOBS STRESS_REPEAT

.PHONY: all help run test test-all test-programs test-kernels bench stress install release dev asan-ubsan tsan clang clean
# The command is build/bin/userfault, the libraries are in build/lib.
all:
	scripts/install-deps.sh
	cmake --preset release
	cmake --build build -j $(JOBS)

help:
	@echo 'all            build/bin/userfault and build/lib'
	@echo 'run            the demonstration: a lazy restore of a real core, verified'
	@echo 'test           build and run every test (what CI runs)'
	@echo 'test-all       the same in the presets asan-ubsan, tsan and clang, too'
	@echo 'release, dev, asan-ubsan, tsan, clang'
	@echo '               build and test that preset alone'
	@echo 'test-programs  programs of others, unmodified, on the user engine'
	@echo 'test-kernels   the conformance suite on other kernels, in virtual machines'
	@echo 'bench          every benchmark; stress: the long runs, with sanitizers; install: PREFIX, DESTDIR'

run: all
	scripts/run.sh

test:
	scripts/install-deps.sh --test
	scripts/test.sh release

test-all:
	scripts/install-deps.sh --test --clang
	scripts/test.sh release asan-ubsan tsan clang

release dev asan-ubsan tsan:
	scripts/install-deps.sh --test
	scripts/test.sh $@

clang:
	scripts/install-deps.sh --test --clang
	scripts/test.sh $@

# The self-tests once more, fifty times each on one processor and on two: that takes most of an hour.
test-programs: all
	scripts/test-programs.sh
	scripts/test-programs.sh --only selftest --repeat 50 --cores 0
	scripts/test-programs.sh --only selftest --repeat 50 --cores 0,1

bench: all
	scripts/bench.sh

# About two hours on two processors; scripts/stress.sh says what makes it longer or shorter.
stress: all
	scripts/install-deps.sh --test --clang
	scripts/stress.sh

# The conformance suite on other kernels, in virtual machines.
test-kernels: all
	scripts/test-kernels.sh

install: all
	cmake --install build $(if $(PREFIX),--prefix $(PREFIX))

clean:
	rm -rf build build-*
