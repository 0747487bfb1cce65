#!/usr/bin/env bash
# Install what the build and the tests need: the FFmpeg libraries with headers, the ffmpeg program,
# libclang (for the FFmpeg bindings), pkg-config and a C compiler. Does nothing where all is there.
#
# Debian and Ubuntu: installs with apt-get, through sudo when not root.
# Elsewhere: says what to install, and goes on if the libraries are there already.
set -euo pipefail

libraries="libavcodec libavformat libavutil libswscale"
packages="libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libclang-dev clang pkg-config ffmpeg gcc libc6-dev"

has() { command -v "$1" >/dev/null 2>&1; }

has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  local found
  found=$(find /usr/lib /usr/lib64 /usr/local/lib /usr/local/opt/llvm/lib /opt/homebrew/opt/llvm/lib \
    /Library/Developer/CommandLineTools/usr/lib -maxdepth 4 \
    \( -name 'libclang.so*' -o -name 'libclang-*.so*' -o -name 'libclang.dylib' \) 2>/dev/null || true)
  [ -n "$found" ]
}

# Prints the names of the things that are missing.
missing() {
  if ! has pkg-config; then
    echo pkg-config "$libraries"
  else
    local library
    for library in $libraries; do
      pkg-config --exists "$library" || echo "$library"
    done
  fi
  has cc || echo cc
  has ffmpeg || echo ffmpeg
  has_libclang || echo libclang
}

# Ends the script: with failure only where the build cannot do without what is missing.
# libclang may lie where it was not looked for; ffmpeg is only used by tests, which skip without it.
finish() { # ADVICE
  local name status=0
  for name in $(missing); do
    case $name in
      ffmpeg | libclang) ;;
      *) status=1 ;;
    esac
  done
  echo "setup: missing: $(missing | xargs). $1" >&2
  [ "$status" -ne 0 ] || echo "setup: going on without" >&2
  exit "$status"
}

if ! has cargo; then
  echo "setup: cargo not found; install Rust from https://rustup.rs" >&2
  exit 1
fi

[ -n "$(missing)" ] || exit 0

if ! has apt-get; then
  finish "Install with: brew install ffmpeg llvm pkgconf | dnf install ffmpeg-free-devel ffmpeg-free clang-devel pkgconf gcc | pacman -S ffmpeg clang pkgconf gcc"
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  has sudo || finish "As root, run: apt-get install $packages"
  as_root=sudo
fi

install() {
  # shellcheck disable=SC2086  # both variables are lists of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages </dev/null >&2
}

echo "setup: missing: $(missing | xargs); installing with apt-get" >&2
# Package lists may be absent or old; they are fetched only if the first try fails.
install || { $as_root apt-get update -q </dev/null >&2 && install; } || finish "apt-get could not install: $packages"
[ -z "$(missing)" ] || finish "apt-get ran, but these are not found."
