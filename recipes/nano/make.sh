#!/usr/bin/env bash
# Makes the built-in model again from nothing, and scores it on scenes it has never seen: four hours and a half on two cores. A run that was
# stopped goes on when the same command is given again. Everything lies in target/nano; nothing of the repository is changed.
#
#   recipes/nano/make.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

out=target/nano
cargo build --locked --release --workspace --bin gve --bin uvrb
bin=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$out"

"$bin/gve" synth world --seed 1 --videos 6500 --pictures 30000 --out "$out/world"
"$bin/gve" synth world --seed 4 --pictures 8000 --things 1 --out "$out/things"
"$bin/gve" synth world --seed 3 --videos 1800 --differ camera,move,reorder,act --family 6 --out "$out/motion"
"$bin/gve" synth world --seed 5 --videos 1800 --differ act --family 6 --things 1 --out "$out/acts-world"
"$bin/gve" synth world --seed 6 --videos 2000 --differ reorder --family 4 --out "$out/order-world"
"$bin/gve" synth world --seed 7 --videos 900 --differ camera --family 6 --out "$out/camera-world"
if [ ! -d "$out/start" ]; then
  "$bin/gve" model init --config recipes/nano/config.json --texts "$out/world/captions.jsonl" --out "$out/start"
fi

train() { # STAGE OUTPUT
  [ -d "$2/final" ] && return
  local resume=()
  if compgen -G "$2/checkpoints/step-*" > /dev/null; then resume=(--resume auto); fi
  "$bin/gve" train "$1" "${resume[@]}"
}
train recipes/nano/1-text-to-image.toml "$out/text-to-image"
train recipes/nano/2-places.toml "$out/places"
train recipes/nano/3-motion.toml "$out/motion-first"
train recipes/nano/4-all-tasks.toml "$out/all-tasks-first"
train recipes/nano/5-motion-again.toml "$out/motion-again"
train recipes/nano/6-all-tasks.toml "$out/all-tasks-second"
train recipes/nano/7-acts.toml "$out/acts"
train recipes/nano/8-order.toml "$out/order"
train recipes/nano/9-all-tasks.toml "$out/all-tasks-third"
train recipes/nano/10-near-misses.toml "$out/near-misses"
train recipes/nano/11-all-tasks.toml "$out/all-tasks-fourth"
train recipes/nano/12-all-tasks.toml "$out/all-tasks-fifth"

if [ ! -d "$out/nano" ]; then
  "$bin/gve" model convert --model "$out/all-tasks-fifth/final" --dtype bf16 --out "$out/nano"
fi
"$bin/gve" synth uvrb-mini --seed 7 --out "$out/uvrb-mini"
"$bin/uvrb" run "$out/uvrb-mini" --model "$out/nano" --name gve/nano --out "$out/results"
"$bin/uvrb" report "$out/results"
python3 recipes/nano/curve.py "$out"/{text-to-image,places,motion-first,all-tasks-first,motion-again,all-tasks-second,acts,order,all-tasks-third,near-misses,all-tasks-fourth,all-tasks-fifth}/log.jsonl > "$out/curve.svg"
