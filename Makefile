# SPDX-License-Identifier: Apache-2.0
# `make deps`, and what says so below, installs packages (scripts/install-deps.sh knows Debian and
# Ubuntu). Variables: JOBS, PREFIX and DESTDIR (install), CTEST_ARGS, STRESS_REPEAT.
JOBS ?= $(shell nproc)
export JOBS STRESS_REPEAT

.PHONY: all deps help run test test-all test-programs test-kernels test-distros bench stress install
.PHONY: release dev asan-ubsan tsan clang clean
# The command is build/bin/userfault, the libraries are in build/lib.
all:
	scripts/build.sh release

help:
	@echo 'all            build/bin/userfault and build/lib'
	@echo 'deps           install what is needed to build and test; run and test do so first'
	@echo 'run            the demonstration: a lazy restore of a real core, verified'
	@echo 'test           build and run every test (what CI runs)'
	@echo 'test-all       the same in the presets asan-ubsan, tsan and clang, too'
	@echo 'release, dev, asan-ubsan, tsan, clang'
	@echo '               build and test that preset alone'
	@echo 'test-programs  programs of others, unmodified, on the user engine; installs them'
	@echo 'test-kernels   the conformance suite on other kernels, in virtual machines; installs QEMU'
	@echo 'test-distros   build and test on other distributions, in a chroot each; installs debootstrap'
	@echo 'bench          every benchmark'
	@echo 'stress         the long runs, with sanitizers; installs clang'
	@echo 'install        the libraries, the command and the manual, under PREFIX and DESTDIR'

deps:
	scripts/install-deps.sh --test

# Only what it runs: the command without the conformance suite, and the program whose core is restored.
run:
	scripts/install-deps.sh
	scripts/build.sh release userfault_without_suite example_live_process
	USERFAULT=build/bin/userfault_without_suite scripts/run.sh

test: deps
	scripts/test.sh release

test-all:
	scripts/install-deps.sh --test --clang
	scripts/test.sh release asan-ubsan tsan clang

release dev asan-ubsan tsan clang:
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

test-distros:
	scripts/test-distros.sh

install: all
	cmake --install build $(if $(PREFIX),--prefix $(PREFIX))

clean:
	rm -rf build build-*
