#!/usr/bin/env bash
# Runs cargo on a copy of the repository without what is written for x86-64 alone: what ARM and others compile. It is
# still this processor that is compiled for, so that x86-64 code without a `cfg` is not noticed.
#
#   scripts/other_processors.sh test --locked --package gve --no-default-features --lib kernels::
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$CARGO_TARGET_DIR"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
copy=$CARGO_TARGET_DIR/other-processors
rm -rf "$copy"
mkdir "$copy"
git ls-files -z --cached --others --exclude-standard | xargs --null cp --parents --preserve=timestamps --target-directory "$copy"
grep --recursive --files-with-matches --null --include='*.rs' 'target_arch = "x86_64"' "$copy" |
  xargs --null sed --in-place 's/target_arch = "x86_64"/target_arch = "riscv64"/'
cd "$copy"
exec cargo "$@"
