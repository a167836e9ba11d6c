#!/usr/bin/env bash
# Installs what the tests need, builds build/release and runs ctest, on a bare Debian 12.
#
#   deploy/test.sh [any option of ctest, such as -L lint or -R Budget]
#
# AMC_TEST_DATA: folder with outside data (README.md, "Tests"); tests that need it skip without it.
# AMC_REQUIRE=1: such tests, and those that need a consumer from npm, fail instead.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh
install_packages "${BUILD_PACKAGES[@]}" "${DEMO_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
command -v npm >/dev/null || install_packages nodejs npm

# ONNX Runtime for Node reads our files back. Its package holds the library; scripts would download.
if ! (mkdir -p build/consumers && cp tests/consumers/package*.json build/consumers/ &&
      npm ci --prefix build/consumers --ignore-scripts --no-audit --no-fund --loglevel=error); then
  echo "deploy/test.sh: npm could not install onnxruntime-node" >&2
  [ "${AMC_REQUIRE:-0}" = 1 ] && exit 1
fi

# Compiled once, found again from any checkout.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
cmake --preset release
cmake --build build/release
unset OPENBLAS_CORETYPE
export OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
ctest --preset release -j "$(nproc)" --timeout 900 "$@"
