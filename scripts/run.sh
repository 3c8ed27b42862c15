#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `make run` shows, after a build.
set -euo pipefail
cd "$(dirname "$0")/.."
exec build/bin/example_hello
