#!/usr/bin/env bash
# Measure gve beside its peers: the forward pass against transformers, then, unless arguments ask for something else
# of the forward pass, training against PyTorch with PEFT, decoding against torchcodec and PyAV and search against FAISS.
#
#   benchmark/peers/run.sh                          everything, on the CPU; the 3B shape too, where it has room
#   benchmark/peers/run.sh --rounds 5               the forward pass alone; arguments go to forward.py
#   SHAPE=3b DTYPE=bf16 benchmark/peers/run.sh --device cuda --dtypes bf16
#
# PEERS_PYTHON names a Python that has requirements.txt installed. Without it, a virtual
# environment is made in target/peers/venv (network needed once, about 3 GB).
set -euo pipefail
cd "$(dirname "$0")/../.."

shape=${SHAPE:-small}
dtype=${DTYPE:-f32}
work=${CARGO_TARGET_DIR:-target}/peers
checkpoint=$work/$shape-$dtype
python=${PEERS_PYTHON:-$work/venv/bin/python}

if [ -z "${PEERS_PYTHON:-}" ] && [ ! -e "$work/venv/.ready" ]; then
  python3 -m venv "$work/venv"
  "$python" -m pip install --quiet --requirement benchmark/peers/requirements.txt
  touch "$work/venv/.ready"
fi
make_checkpoint() { # SHAPE DTYPE FOLDER
  if [ ! -e "$3/inputs.safetensors" ]; then   # written last
    "$python" benchmark/peers/make_checkpoint.py --shape "$1" --dtype "$2" --out "$3"
  fi
}

# Whether the weights of the 3B shape fit on the disk, unless they are there, and into memory in bf16, with something to spare.
has_room_for_3b() {
  local disk memory
  disk=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
  memory=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo 2> /dev/null || echo 0)
  [ "$memory" -gt 12000000 ] && { [ "$disk" -gt 10000000 ] || [ -e "$work/3b-bf16/inputs.safetensors" ]; }
}

make_checkpoint "$shape" "$dtype" "$checkpoint"
if [ $# -gt 0 ]; then
  "$python" benchmark/peers/forward.py --checkpoint "$checkpoint" "$@"
else
  "$python" benchmark/peers/forward.py --checkpoint "$checkpoint" --dtypes f32,bf16,int8 --load
  if [ "$shape" = small ] && has_room_for_3b; then
    make_checkpoint 3b bf16 "$work/3b-bf16"
    "$python" benchmark/peers/forward.py --checkpoint "$work/3b-bf16" --dtypes bf16,int8 --rounds 2 --runs 2 --load
  fi
  "$python" benchmark/peers/train.py --work "$work/train"
  "$python" benchmark/peers/decode.py tests/golden/media/bunny.mp4
  "$python" benchmark/peers/decode.py
  "$python" benchmark/peers/topk.py
  "$python" benchmark/peers/topk.py --rows 15000 --dim 3584 --batches 14427 --k 1000 --rounds 3
fi
