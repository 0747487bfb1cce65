# shellcheck shell=bash
# Assemble what is needed to *compile* for CUDA 13.0 on a machine without a GPU, and export its paths.
#
#   source scripts/cuda_env.sh                       into ~/.cache/gve-cuda-13.0
#   CUDA_ENV_PREFIX=DIR source scripts/cuda_env.sh   elsewhere
#
# The compiler and headers come from NVIDIA's wheels on PyPI, pinned by hash. The driver and the
# libraries that only a GPU machine has are replaced by stubs for the linker; their symbols are read
# from the sources of the cudarc crate, so `cargo fetch` has to run first.
# Needs: Linux x86-64, python3 with pip, gcc and g++, cargo's registry. See docs/gpu.md.

# Not an argument: a sourced script sees the arguments of its caller.
CUDA_ENV_PREFIX=${CUDA_ENV_PREFIX:-$HOME/.cache/gve-cuda-13.0}

# Installs the pinned wheels and moves their common tree to $1.
_cuda_install_wheels() { # TOOLKIT
  local toolkit=$1 work
  work=$(mktemp -d "$CUDA_ENV_PREFIX/wheels.XXXXXX")
  # nvcc stays at 13.0: the kernels are loaded as PTX, and a driver refuses PTX newer than itself.
  cat > "$work/requirements.txt" <<'PINS'
nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cccl==13.0.85 --hash=sha256:e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
PINS
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: \
    --require-hashes --target "$work/site" --requirement "$work/requirements.txt"
  rm -rf "$toolkit"
  mv "$work/site/nvidia/cu13" "$toolkit"
  rm -rf "$work"
  # The wheels have no lib64 and no unversioned names; nvcc and the linker look for both.
  ln -sfn lib "$toolkit/lib64"
  ln -sfn libcudart.so.13 "$toolkit/lib/libcudart.so"
  ln -sfn libnvvm.so.4 "$toolkit/lib/libnvvm.so"
}

# Makes one stub library: every function of a cudarc binding, each returning "stub library" (34).
_cuda_make_stub() { # DIRECTORY NAME SONAME FUNCTION_PATTERN BINDING
  local directory=$1 name=$2 soname=$3 pattern=$4 binding=$5 work
  work=$(mktemp -d)
  grep -ohE "\bfn $pattern\b" "$binding" | sort -u | sed -E 's/^fn (.*)/int \1(void) { return 34; }/' > "$work/stub.c"
  if [ ! -s "$work/stub.c" ]; then
    echo "cuda_env: no functions like $pattern in $binding" >&2
    return 1
  fi
  local version_script=()
  if [ "$name" != libcuda ]; then   # the real ones, except the driver, version all symbols by their soname
    echo "$soname { global: *; };" > "$work/stub.map"
    version_script=("-Wl,--version-script=$work/stub.map")
  fi
  gcc -shared -fPIC -w "-Wl,-soname,$soname" "${version_script[@]}" -o "$directory/$soname" "$work/stub.c"
  ln -sfn "$soname" "$directory/$name.so"
  rm -rf "$work"
}

_cuda_make_stubs() { # TOOLKIT
  local stubs=$1/lib/stubs bindings
  bindings=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -type d -name 'cudarc-0.19.*' | sort -V | tail -n 1)
  if [ -z "$bindings" ]; then
    echo "cuda_env: the sources of cudarc 0.19 are not in cargo's registry; run: cargo fetch --locked" >&2
    return 1
  fi
  mkdir -p "$stubs"
  _cuda_make_stub "$stubs" libcuda     libcuda.so.1      'cu[A-Z][A-Za-z0-9_]*'     "$bindings/src/driver/sys/mod.rs"
  _cuda_make_stub "$stubs" libcublas   libcublas.so.13   'cublas[A-Z][A-Za-z0-9_]*' "$bindings/src/cublas/sys/mod.rs"
  _cuda_make_stub "$stubs" libcublasLt libcublasLt.so.13 'cublasLt[A-Za-z0-9_]*'    "$bindings/src/cublaslt/sys/mod.rs"
  _cuda_make_stub "$stubs" libcurand   libcurand.so.10   'curand[A-Z][A-Za-z0-9_]*' "$bindings/src/curand/sys/mod.rs"
  _cuda_make_stub "$stubs" libnvrtc    libnvrtc.so.13    'nvrtc[A-Z][A-Za-z0-9_]*'  "$bindings/src/nvrtc/sys/mod.rs"
}

_cuda_assemble() ( # TOOLKIT; in a subshell, so that the caller's shell options stay as they are
  set -euo pipefail
  [ -e "$1/.ready" ] && exit 0
  mkdir -p "$CUDA_ENV_PREFIX"
  _cuda_install_wheels "$1"
  _cuda_make_stubs "$1"
  touch "$1/.ready"
)

# Called plainly: after `||` or in `if`, bash would ignore the subshell's `set -e`.
_cuda_assemble "$CUDA_ENV_PREFIX/toolkit"
# shellcheck disable=SC2181
if [ $? -ne 0 ]; then
  echo "cuda_env: the toolkit could not be assembled" >&2
  return 1
fi

export CUDA_HOME=$CUDA_ENV_PREFIX/toolkit
export CUDA_PATH=$CUDA_HOME
export PATH=$CUDA_HOME/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}    # 90: Hopper only (sm_90a)
export NVCC_CCBIN=${NVCC_CCBIN:-$(command -v g++)}
export CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-2}   # nvcc processes at a time
