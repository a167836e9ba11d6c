#!/usr/bin/env bash
# Compresses the demo network (a ResNet-20 for Fashion-MNIST) to half its MACs on a bare Debian 12.
#
#   deploy/quickstart.sh [OUT_DIR] [any further option of `amc run`]
#
# Installs what it needs, builds build/release, packs the images, searches. Everything it makes lies
# in build/ and OUT_DIR (default: out/quickstart). Safe to run twice: the second run finds the job done.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh
install_packages "${BUILD_PACKAGES[@]}" "${DEMO_PACKAGES[@]}"

out=out/quickstart
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  out=$1
  shift
fi

echo "Building build/release (first time: some minutes)"
# Compiled once, found again from any checkout.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
cmake --preset release >build-quickstart.log 2>&1 || { tail -n 30 build-quickstart.log >&2; exit 1; }
mv build-quickstart.log build/release/configure.log
cmake --build build/release --target amc amc-engine
PATH=$PWD/build/release/bin:$PATH

mkdir -p "$out"
[ -e "$out/fashion.pack" ] ||
  amc data pack --idx /usr/share/datasets/fashion-mnist --mean 0.2860 --std 0.3530 -o "$out/fashion.pack"
amc run deploy/demo/resnet20-fashion.onnx --data "$out/fashion.pack" --budget 0.5 --episodes 60 \
  --reward-images 2000 -o "$out" "$@"
