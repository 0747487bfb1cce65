#!/usr/bin/env bash
# Modality Pyramid against uniform sampling, three seeds each, at a small part of the budget of the built-in model; needs what make.sh has made up to its first
# stage, and uvrb-mini. About half an hour on two cores.
#
#   recipes/nano/ablation.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

out=target/nano
bin=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$out/ablation"
for seed in 1 2 3; do
  for sampler in pyramid uniform; do
    run=$out/ablation/$sampler-$seed
    config=$out/ablation/$sampler-$seed.toml   # relative paths in it are relative to its own directory
    sed -e "s#\.\./\.\./$out#..#; s/SAMPLER/$sampler/; s/SEED/$seed/" recipes/nano/ablation.toml > "$config"
    if [ ! -d "$run/final" ]; then
      resume=()
      if compgen -G "$run/checkpoints/step-*" > /dev/null; then resume=(--resume auto); fi
      "$bin/gve" train "$config" "${resume[@]}"
    fi
    "$bin/uvrb" run "$out/uvrb-mini" --model "$run/final" --name "ablation/$sampler-$seed" --out "$out/ablation/results"
  done
done
"$bin/uvrb" report "$out/ablation/results"
