#!/usr/bin/env bash
# Shows that gve computes the right numbers on an NVIDIA GPU, and how fast, beside transformers on the same card.
#
#   scripts/gpu_acceptance.sh pack [DIR]      build for CUDA, on any machine, and pack into DIR (target/gpu-acceptance)
#   scripts/gpu_acceptance.sh run [DIR] [OUT] on the machine with the card: report into OUT (target/gpu-acceptance-report)
#   scripts/gpu_acceptance.sh --dry-run       all but the card: the same programs built for the CPU, on a tiny model
#
# `run` needs a checkout, DIR (20 MB), and a Python with torch and transformers 5: no FFmpeg, no network, no compiler.
# What is done: benchmark/peers/gpu_acceptance.py --help.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}

# The programs that a build made, by their names: the tests of the library's inside, its integration tests, the bench.
collect() { # DIR, messages of cargo on standard input
  mkdir -p "$1"
  python3 -c '
import json, shutil, sys
names = {("gve", "lib"): "unit", ("it", "test"): "it", ("forward_bench", "bin"): "forward_bench"}
for line in sys.stdin:
    message = json.loads(line) if line.startswith("{") else {}
    package = message.get("manifest_path", "").rsplit("/", 2)[-2:-1]
    if not message.get("executable") or package == ["cli"] or (package == ["benchmark"] and message["profile"]["test"]):
        continue
    for kind in message["target"]["kind"]:
        name = names.get((message["target"]["name"], kind))
        if name:
            shutil.copy(message["executable"], f"{sys.argv[1]}/{name}")
' "$1"
}

pack() { # DIR
  export CARGO_TARGET_DIR=$target/cuda
  cargo fetch --locked
  # shellcheck source=scripts/cuda_env.sh
  source scripts/cuda_env.sh
  local build=(--release --locked --jobs "${CUDA_BUILD_JOBS:-1}" --message-format=json-render-diagnostics --no-default-features)
  cargo test "${build[@]}" --no-run --package gve --features cuda,hub,library,train --lib --test it | collect "$1"
  cargo build "${build[@]}" --package uvrb --features cuda --bin forward_bench | collect "$1"
  strip "$1/unit" "$1/it" "$1/forward_bench"
  xz --threads=0 --force "$1/unit" "$1/it" "$1/forward_bench"
  ls -l "$1"
}

case ${1:-} in
  pack) pack "${2:-$target/gpu-acceptance}" ;;
  run) python3 benchmark/peers/gpu_acceptance.py --programs "${2:-$target/gpu-acceptance}" --out "${3:-$target/gpu-acceptance-report}" ;;
  --dry-run)
    programs=$target/gpu-acceptance-dry
    cargo test --locked --workspace --no-run --message-format=json-render-diagnostics | collect "$programs"
    python3 benchmark/peers/gpu_acceptance.py --dry-run --programs "$programs" --out "$target/gpu-acceptance-dry/report"
    ;;
  *) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
