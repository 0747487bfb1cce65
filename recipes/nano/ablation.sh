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
    config=recipes/nano/ablation-$sampler-$seed.toml   # relative paths in it are those of ablation.toml
    sed -e "s/SAMPLER/$sampler/; s/SEED/$seed/" recipes/nano/ablation.toml > "$config"
    [ -d "$run/final" ] || "$bin/gve" train "$config"
    rm "$config"
    "$bin/uvrb" run "$out/uvrb-mini" --model "$run/final" --name "ablation/$sampler-$seed" --out "$out/ablation/results"
  done
done
"$bin/uvrb" report "$out/ablation/results"
