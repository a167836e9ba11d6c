# Sourced by the scripts beside it: installs Debian packages, with sudo where needed.
#
#   . "$(dirname "$0")/packages.sh"
#   install_packages "${BUILD_PACKAGES[@]}"

BUILD_PACKAGES=(
  g++ cmake ninja-build ccache lld pkg-config git ca-certificates
  libtorch-dev libopenblas0-pthread libonnx-dev
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libc-ares-dev libre2-dev
  libabsl-dev libsqlite3-dev libcli11-dev libssl-dev zlib1g-dev libjpeg-dev libpng-dev
  libxnnpack-dev libpthreadpool-dev libeigen3-dev
  libgtest-dev libgmock-dev)
DEMO_PACKAGES=(dataset-fashion-mnist)
TEST_PACKAGES=(
  clang clang-format clang-tidy python3 python3-torch python3-torchvision python3-onnx python3-numpy python3-scipy python3-pil python3-grpcio python3-protobuf
  libopencv-dnn-dev sqlite3 xz-utils)

# Installs those of the given packages that are missing; does nothing, and needs no network, when all
# are there.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "run this as root, or install sudo: need ${missing[*]}" >&2; return 1; }
    sudo=(sudo)
  fi
  echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -q >/dev/null
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}
