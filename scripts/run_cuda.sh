#!/usr/bin/env bash
# Start a CUDA build on a machine with a GPU: find the CUDA 13 libraries, then run.
#
#   scripts/run_cuda.sh BINARY [ARGUMENTS...]      BINARY may be packed: .xz or .gz
#
# Looks in the driver's directory, an installed toolkit, and the nvidia-* wheels that torch brings.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: run_cuda.sh BINARY [ARGUMENTS...]" >&2; exit 2; }
binary=$1
shift
[ -f "$binary" ] || { echo "run_cuda: no such file: $binary" >&2; exit 1; }

wheel_directories() {
  python3 - 2>/dev/null <<'PYTHON' || true
import importlib.util, os
spec = importlib.util.find_spec("nvidia")
for root in (spec.submodule_search_locations if spec else []):
    print(os.path.join(root, "cu13", "lib"))
PYTHON
}

# The driver's directory first. Never the stubs of cuda_env.sh: they only satisfy the linker.
while IFS= read -r directory; do
  if [ -d "$directory" ]; then
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$directory
  fi
done < <(printf '%s\n' /usr/local/nvidia/lib64 /usr/local/nvidia/lib /usr/local/cuda/lib64 \
  /usr/local/cuda/targets/x86_64-linux/lib; wheel_directories)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}

unpack() { # MODULE: gzip or lzma, both of Python's standard library
  unpacked=$(mktemp -d)
  trap 'rm -rf "$unpacked"' EXIT
  python3 -c 'import importlib, shutil, sys
module, source, target = sys.argv[1:]
with importlib.import_module(module).open(source) as packed, open(target, "wb") as plain:
    shutil.copyfileobj(packed, plain)' "$1" "$binary" "$unpacked/program"
  chmod +x "$unpacked/program"
  binary=$unpacked/program
}
case $binary in
  *.xz) unpack lzma ;;
  *.gz) unpack gzip ;;
esac
case $binary in
  */*) ;;
  *) binary=./$binary ;;
esac

if not_found=$(ldd "$binary" | grep 'not found'); then
  echo "run_cuda: libraries missing: $(echo "$not_found" | awk '{print $1}' | xargs) (LD_LIBRARY_PATH=$LD_LIBRARY_PATH)" >&2
  exit 127
fi
"$binary" "$@"
