#!/usr/bin/env bash
# Build with the CUDA back end, no GPU and no installed CUDA toolkit needed.
#
#   scripts/build_cuda.sh                                             gve with --features cuda
#   scripts/build_cuda.sh -p uvrb --bin forward_bench --features cuda   other cargo arguments instead
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- --package gve-cli --features cuda
# A CUDA build has its own directory: sharing one would rebuild everything at each change of features.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/cuda

cargo fetch --locked
# shellcheck source=scripts/cuda_env.sh
source scripts/cuda_env.sh
# One job: each build script starts CUDAFORGE_THREADS compilers of its own.
cargo build --release --locked --jobs "${CUDA_BUILD_JOBS:-1}" "$@"
echo "built in $CARGO_TARGET_DIR/release; start it on the GPU machine with scripts/run_cuda.sh" >&2
