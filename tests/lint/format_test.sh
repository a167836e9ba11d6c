#!/usr/bin/env bash
# Every C++ file is as clang-format leaves it.
set -euo pipefail
cd "$(dirname "$0")/../.."
find base env agent storage server tests -name '*.h' -o -name '*.cc' | sort |
  xargs clang-format --dry-run --Werror --ferror-limit=3
