#!/usr/bin/env bash
# Runs a go command with what the build tag cuda needs, or says what of it is missing. See --help, which is this text:
#
# usage: scripts/build_cuda.sh go build -tags cuda -o bin/ ./cmd/...
#
#   $LIBTORCH       the libtorch 2.11.0 with CUDA's libraries (default: third_party/libtorch, then /usr/local/libtorch);
#                   scripts/install_libtorch.sh --cuda installs one
#   $CUDA_INCLUDE   the directories, joined by colons, with the headers of CUDA 13 and of NCCL 2.28 (default:
#                   /usr/local/cuda/include). They are in the CUDA toolkit and in libnccl-dev, or in the packages
#                   nvidia-cuda-runtime, nvidia-cuda-crt, nvidia-cuda-cccl, nvidia-cublas, nvidia-cusparse,
#                   nvidia-cusolver and nvidia-nccl-cu13 of pip, under nvidia/cu13/include and nvidia/nccl/include
#
# What it builds has never run on a GPU.
set -euo pipefail

die() {
  echo "build_cuda: $*" >&2
  exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# == 0)) || [[ $1 == --help || $1 == -h ]]; then
  sed -n '2,/^set /{ s/^# \{0,1\}//p }' "${BASH_SOURCE[0]}"
  exit 0
fi

libtorch=${LIBTORCH:-$root/third_party/libtorch}
[[ -n ${LIBTORCH:-} || -e $libtorch ]] || libtorch=/usr/local/libtorch
for library in libtorch_cuda.so libc10_cuda.so; do
  [[ -e $libtorch/lib/$library ]] ||
    die "$libtorch/lib has no $library: install libtorch with scripts/install_libtorch.sh --cuda, or name one that has it by LIBTORCH"
done
libtorch=$(cd "$libtorch" && pwd)

# One header of each package that is needed, with where it comes from.
IFS=: read -ra include <<<"${CUDA_INCLUDE:-/usr/local/cuda/include}"
missing=()
for header in cuda_runtime_api.h crt/host_defines.h nv/target cublas_v2.h cusparse.h cusolverDn.h nccl.h; do
  found=
  for directory in "${include[@]}" /usr/local/cuda/include /usr/local/include /usr/include; do
    [[ ! -e $directory/$header ]] || found=yes
  done
  [[ -n $found ]] || missing+=("$header")
done
((${#missing[@]} == 0)) ||
  die "the headers ${missing[*]} are missing: install the CUDA 13 toolkit and NCCL 2.28, or name their directories by CUDA_INCLUDE; see --help"

# These lines are empty for the places that goclip's own build flags name.
eval "$("$root/scripts/install_libtorch.sh" --print-env --prefix "$libtorch")"
flags=()
for directory in "${include[@]}"; do flags+=("'-isystem$directory'"); done
export CGO_CXXFLAGS="${flags[*]} ${CGO_CXXFLAGS:--g -O2}"
exec "$@"
