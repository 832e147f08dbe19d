#!/usr/bin/env bash
# Installs libtorch 2.11.0 where goclip's build finds it. See --help, which is this text:
#
# usage: scripts/install_libtorch.sh [--cpu|--cuda|--auto] [--prefix DIR] [--from-python|--archive]
#        scripts/install_libtorch.sh --deps
#        scripts/install_libtorch.sh --print-env [--prefix DIR]
#
# Where libtorch comes from, the first that applies:
#   $LIBTORCH       a libtorch 2.11.0, or a Python's torch package, that you have: PREFIX becomes a link to it
#   PREFIX          an install that is there already: nothing is done
#   --from-python   the torch 2.11.0 of the active Python (or of $PYTHON): PREFIX holds links to its files
#   --archive       PyTorch's own libtorch archive, CPU only; untried, and its checksum is not pinned
#   otherwise       the torch wheel of the package index that pip is configured for, with pinned checksums. 0.55 GB are
#                   fetched and 0.55 GB kept for the CPU; 2.5 GB and 4 GB for CUDA. No Python package is installed.
#
#   --cpu           libraries for the CPU only
#   --cuda          also those for NVIDIA GPUs (CUDA 13)
#   --auto          CUDA if this machine has an NVIDIA GPU, else CPU (default)
#   --prefix DIR    where to install (default: third_party/libtorch of this checkout; goclip also looks in
#                   /usr/local/libtorch; for any other place see --print-env)
#   --print-env     print the environment with which the Go build finds PREFIX: eval "$(... --print-env --prefix DIR)"
#   --deps          check what else the build needs (C++ compiler, make, libjpeg-turbo, Go); root installs it with apt-get
#   --help          this text
#
# environment:
#   GOCLIP_WHEELS   a directory, or the address of one, that holds the wheels under their own names (libtorch.sums lists
#                   them), for a machine without pip or without a package index
#   XDG_CACHE_HOME  downloads are kept in its directory goclip (default ~/.cache), whole ones for the next install,
#                   interrupted ones to be continued; remove it when you like
#
# exit status: 0 installed, or there already; 1 it cannot be, with the reason; 2 wrong flags.
set -euo pipefail

version=2.11.0
min_glibc=2.28
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/goclip
archive=${GOCLIP_ARCHIVE:-https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-$version%2Bcpu.zip}

# Of the wheel's libraries, those of Python, and libtorch.so, which only pulls in the rest, are of no use here.
not_ours=('torch/lib/libtorch_python.so' 'torch/lib/libtorch.so' 'torch/lib/libshm*' 'torch/lib/libtorch_global_deps.so')
not_cpu=('torch/lib/libtorch_cuda*' 'torch/lib/libc10_cuda.so' 'torch/lib/libcaffe2_nvrtc.so' 'torch/lib/libtorch_nvshmem.so')

say() { echo "install_libtorch: $*"; }
warn() { echo "install_libtorch: $*" >&2; }
die() {
  warn "$@"
  exit 1
}
wrong_flag() {
  warn "$*; see --help"
  exit 2
}

# shellcheck source=scripts/lib/platform.sh
source "$here/lib/platform.sh"
# shellcheck source=scripts/lib/fetch.sh
source "$here/lib/fetch.sh"
# shellcheck source=scripts/lib/prefix.sh
source "$here/lib/prefix.sh"

read_flags() {
  device=auto source=wheel action=install prefix=
  while (($#)); do
    case $1 in
      --cpu | --cuda | --auto) device=${1#--} ;;
      --from-python) source=python ;;
      --archive) source=archive ;;
      --prefix)
        (($# > 1)) || wrong_flag "--prefix needs a directory"
        prefix=$2
        shift
        ;;
      --prefix=*) prefix=${1#--prefix=} ;;
      --deps) action=deps ;;
      --print-env) action=env ;;
      --help | -h)
        sed -n '2,/^set /{ s/^# \{0,1\}//p }' "${BASH_SOURCE[0]}"
        exit 0
        ;;
      *) wrong_flag "$1 is not a flag of this script" ;;
    esac
    shift
  done
  [[ $source != archive || $device != cuda ]] || wrong_flag "--archive has no CUDA libraries; leave --archive or --cuda out"
  prefix=${prefix:-$root/third_party/libtorch}
  case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
  prefix=${prefix%/}
}

# libtorch_at_variable links PREFIX to $LIBTORCH.
libtorch_at_variable() {
  local there found
  [[ -d $LIBTORCH ]] || die "LIBTORCH: $LIBTORCH is not a directory; name a libtorch $version, or unset LIBTORCH"
  there=$(cd "$LIBTORCH" && pwd -P)
  found=$(installed_version "$there")
  [[ -n $found ]] ||
    die "LIBTORCH: $LIBTORCH holds no libtorch (lib/libtorch_cpu.so and include/); name a libtorch $version, or unset LIBTORCH"
  [[ $found == "$version" ]] || die "LIBTORCH: $LIBTORCH is libtorch $found; goclip needs $version"
  check_loads "$there/lib"
  if [[ -d $prefix && $(cd "$prefix" && pwd -P) == "$there" ]]; then
    say "libtorch $version is in $prefix already ($there); nothing to do"
    return
  fi
  check_replaceable
  make_parent
  staged=$prefix.new.$$
  ln -s "$there" "$staged"
  replace_prefix
  say "libtorch $version: $prefix is now a link to $there"
}

# from_wheels fetches and unpacks the wheels of this machine and kind.
from_wheels() {
  local kind=$1 arch kinds package file sum bytes cpu_mb cuda_mb fetch=0 keep=0 wheels=()
  while read -r arch kinds package file sum bytes cpu_mb cuda_mb; do
    [[ $arch == "$machine" && ,$kinds, == *,$kind,* ]] || continue
    wheels+=("$package $file $sum $bytes")
    [[ -f $cache/$file || -d ${GOCLIP_WHEELS:-} ]] || ((fetch += bytes - $(size_of "$cache/$file.part"))) || true
    if [[ $kind == cpu ]]; then ((keep += cpu_mb)) || true; else ((keep += cuda_mb)) || true; fi
  done < <(grep -v '^#' "$here/libtorch.sums")
  ((${#wheels[@]})) || die "$here/libtorch.sums has no wheels for $machine"
  [[ $machine == x86_64 ]] || warn "libtorch on $machine is untried by goclip"
  make_parent
  check_space "$(dirname "$prefix")" "$keep" "libtorch for ${kind^^}" --prefix
  ((fetch == 0)) || check_space "$cache" $((fetch / 1000000)) "the download" XDG_CACHE_HOME
  make_cache

  staged=$prefix.new.$$
  mkdir -p "$staged/lib" "$staged/unpacked"
  local wheel excluded=("${not_ours[@]}")
  if [[ $kind == cpu ]]; then
    excluded+=("${not_cpu[@]}" 'nvidia/*/libnvperf*' 'nvidia/*/libpcsamplingutil*' 'nvidia/*/libcheckpoint*')
  fi
  for wheel in "${wheels[@]}"; do
    read -r package file sum bytes <<<"$wheel"
    fetch_wheel "$package" "$file" "$sum" "$bytes"
    unpack "$fetched" "$staged/unpacked" "${excluded[@]}" -- \
      'torch/lib/*.so*' 'torch/include/*' 'nvidia/*/lib/*.so*' '*.dist-info/*LICENSE*' '*.dist-info/*License*' '*.dist-info/*NOTICE*' ||
      die "$fetched cannot be unpacked into $(dirname "$prefix"): the disk is full, or the file is damaged"
  done
  # One flat directory: every library finds its neighbours through $ORIGIN, which ends all of their run paths.
  find "$staged/unpacked" -path '*/lib/*.so*' -type f -exec mv -t "$staged/lib" {} +
  mv "$staged/unpacked/torch/include" "$staged/include"
  mkdir "$staged/licenses"
  for wheel in "$staged"/unpacked/*.dist-info; do mv "$wheel" "$staged/licenses/$(basename "${wheel%.dist-info}")"; done
  rm -rf "$staged/unpacked"
  finish "$kind" wheel
}

# from_python links to the files of an installed torch package; its CUDA libraries, if any, cost nothing.
from_python() {
  local python=${PYTHON:-python3} torch found kind=cpu file
  command -v "$python" >/dev/null || die "--from-python: $python is missing; activate the environment that has torch $version, or set PYTHON"
  torch=$("$python" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")') || torch=
  [[ -n $torch ]] || die "--from-python: $("$python" -c 'import sys; print(sys.executable)') has no torch; activate the environment that has torch $version, or set PYTHON"
  found=$(installed_version "$torch")
  [[ $found == "$version" ]] || die "--from-python: $torch is torch ${found:-of an unknown version}; goclip needs $version"
  [[ $device == cpu || ! -e $torch/lib/libtorch_cuda.so ]] || kind=cuda
  [[ $device != cuda || $kind == cuda ]] || die "--from-python: $torch has no CUDA libraries; leave --cuda or --from-python out"
  make_parent
  staged=$prefix.new.$$
  mkdir -p "$staged/lib"
  ln -s "$torch/include" "$staged/include"
  while read -r file; do
    if wanted "${file#"$(dirname "$torch")"/}" "$kind"; then ln -sf "$file" "$staged/lib/"; fi
  done < <(find "$torch/lib" "$(dirname "$torch")"/nvidia/*/lib -maxdepth 1 -name '*.so*' 2>/dev/null)
  finish "$kind" "$torch"
}

# wanted: is this library of a torch package, or of a package it needs, part of an install of this kind?
wanted() {
  local pattern patterns=("${not_ours[@]}")
  if [[ $2 == cpu ]]; then
    [[ $1 != nvidia/* || $1 == */libcudart.so* || $1 == */libcupti.so* ]] || return 1
    patterns+=("${not_cpu[@]}")
  fi
  for pattern in "${patterns[@]}"; do
    # shellcheck disable=SC2053 # the right side is a pattern
    [[ $1 != $pattern ]] || return 1
  done
}

# from_archive unpacks PyTorch's own libtorch archive.
from_archive() {
  [[ $machine == x86_64 ]] || die "--archive: PyTorch publishes it for x86_64 only; leave --archive out"
  warn "--archive is untried, and the checksum of $archive is not pinned"
  make_parent
  check_space "$(dirname "$prefix")" 800 "libtorch for CPU" --prefix
  make_cache
  staged=$prefix.new.$$
  mkdir -p "$staged"
  fetched=$cache/$(basename "$archive")
  if [[ ! -f $fetched ]]; then
    download "$archive" "$fetched.part" ''
    mv -f "$fetched.part" "$fetched"
  fi
  say "its SHA-256 is $(sha256 "$fetched")"
  unpack "$fetched" "$staged" 'libtorch/lib/*.a' -- 'libtorch/*' ||
    die "$fetched cannot be unpacked into $(dirname "$prefix"): the disk is full, or the file is damaged"
  [[ -d $staged/libtorch ]] || die "$fetched has no directory libtorch; delete it and try again"
  mv "$staged/libtorch"/* "$staged/"
  rmdir "$staged/libtorch"
  finish cpu archive
}

main() {
  read_flags "$@"
  case $action in
    deps)
      install_deps
      return
      ;;
    env)
      print_env
      return
      ;;
  esac
  check_platform
  staged=
  trap '[[ -z $staged ]] || rm -rf "$staged"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if [[ -n ${LIBTORCH:-} ]]; then
    libtorch_at_variable
    return
  fi
  local kind=$device
  if [[ $kind == auto ]]; then
    kind=cpu
    if has_gpu && [[ $source == wheel ]]; then kind=cuda; fi
  fi
  if ! already_there "$kind"; then
    check_replaceable
    case $source in
      wheel) from_wheels "$kind" ;;
      python) from_python ;;
      archive) from_archive ;;
    esac
    say "libtorch $version ($(stamp kind)) is in $prefix, $(du -sLm "$prefix" | cut -f1) MB"
    known_prefix || say "the Go build finds it with: eval \"\$($0 --print-env --prefix $prefix)\""
  fi
  local missing
  mapfile -t missing < <(missing_parts)
  ((${#missing[@]} == 0)) || say "the build also needs: $(package_command "${missing[@]}")"
}

main "$@"
