#!/usr/bin/env bash
# How batches are spread over tasks, where a model that knows one world learns another: three seeds of each way, adapters of nano. Needs the programs `gve`
# and `ffmpeg`. Runs that are through are not made again. Everything lies in target/shifted.
#
#   recipes/shifted/ablation.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

recipe=recipes/shifted
out=target/shifted
bin=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$out/runs"

world() { # NAME SEED VIDEOS PICTURES [OPTION...]
  "$bin/gve" synth world --seed "$2" --videos "$3" --pictures "$4" --out "$out/$1"
  python3 "$recipe/shift.py" "$out/$1" "$out/${1/world/shifted}" "${@:5}"
}
world world 101 600 600
world held-out-world 102 450 150 --most 120

train() { # TEMPLATE NAME SEED SAMPLER FLOOR SIGMA_START [SED...]; - for what is not given
  local config=$out/$2-$3.toml edits=() resume=()
  [ -d "$out/runs/$2-$3/final" ] && return
  if [ "$4" != pyramid ]; then edits+=(-e /^probe_pairs/d); fi
  case $2-$3 in before-1|uniform-1) ;; *) edits+=(-e 's/^at_start = true/at_start = false/') ;; esac   # all begin as one model
  sed -e "s/NAME/$2/; s/SEED/$3/; s/SAMPLER/$4/; s/FLOOR/$5/; s/SIGMA/$6/" -e '/^[a-z_]* = -$/d' "${edits[@]}" "${@:7}" "$recipe/$1" > "$config"
  if compgen -G "$out/runs/$2-$3/checkpoints/step-*" > /dev/null; then resume=(--resume auto); fi
  "$bin/gve" train "$config" "${resume[@]}"
}

# nano on the same pairs as they were: its scores before the first step, and no more than that step.
train lora.toml before 1 uniform - - -e 's/^epochs.*/epochs = 1/; s/^steps_per_epoch.*/steps_per_epoch = 1/; s#held-out-shifted/pairs_#held-out-world/plain_#'
for seed in 1 2 3; do
  train lora.toml pyramid-0 "$seed" pyramid 0.0 0.1
  train lora.toml pyramid-25 "$seed" pyramid 0.25 0.1
  train lora.toml uniform "$seed" uniform - -
  train lora.toml proportional-0 "$seed" proportional 0.0 -
  train lora.toml proportional-25 "$seed" proportional 0.25 -
  train lora.toml default "$seed" pyramid - -
done
python3 "$recipe/table.py" "$out/runs"
