# shellcheck shell=bash
# What the machine is, and what the build needs from it. Sourced by install_libtorch.sh, which defines die, say and warn.

# check_platform ends with one sentence where no libtorch of the pinned version can run.
check_platform() {
  local os glibc
  os=$(uname -s)
  machine=$(uname -m)
  [[ $os == Linux ]] || die "this is $os; goclip's libtorch is for Linux"
  case $machine in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) die "this machine is $machine; libtorch $version exists for x86_64 and aarch64" ;;
  esac
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p') || true
  [[ -n $glibc ]] || die "this system has no glibc (musl, perhaps); libtorch $version needs glibc $min_glibc or newer"
  at_least "$glibc" "$min_glibc" ||
    die "this system has glibc $glibc; libtorch $version needs $min_glibc or newer (Debian 10, Ubuntu 20.04, RHEL 8)"
}

# at_least compares two dotted versions: is the first the second or later?
at_least() {
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# has_gpu: an NVIDIA device is there, whether or not its driver answers.
has_gpu() {
  [[ -e /dev/nvidia0 ]] || { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }
}

# check_space ends unless the file system of DIR has MB megabytes free. DIR need not exist yet.
check_space() {
  local dir=$1 need=$2 what=$3 free
  while [[ ! -d $dir ]]; do dir=$(dirname "$dir"); done
  free=$(($(df -Pk "$dir" | awk 'NR == 2 { print $4 }') / 1024))
  ((free >= need)) || die "$what needs $need MB in $dir, which has $free MB free; free some space, or choose another place with $4"
}

# missing_parts prints what the build needs and does not find, one word each: c++ make jpeg.
missing_parts() {
  local cxx=${CXX:-g++}
  command -v "${cxx%% *}" >/dev/null || echo c++
  command -v make >/dev/null || echo make
  have_jpeg || echo jpeg
}

# have_jpeg asks the compiler, which knows where this system keeps headers; without one, the usual places.
have_jpeg() {
  local cc=${CC:-gcc}
  if command -v "${cc%% *}" >/dev/null; then
    printf '#include <stdio.h>\n#include <jpeglib.h>\n' | ${cc} -E -x c - >/dev/null 2>&1
  else
    [[ -e /usr/include/jpeglib.h || -e /usr/local/include/jpeglib.h ]]
  fi
}

# packages turns parts into the package names of this system's package manager, as a whole command.
package_command() {
  local part names=()
  if command -v apt-get >/dev/null; then
    for part; do
      case $part in
        c++) names+=(g++) ;;
        jpeg) names+=(libjpeg-dev) ;;
        curl) names+=(curl ca-certificates) ;;
        venv) names+=(python3-venv) ;;
        *) names+=("$part") ;;
      esac
    done
    echo "apt-get install -y --no-install-recommends ${names[*]}"
  elif command -v dnf >/dev/null; then
    for part; do
      case $part in
        c++) names+=(gcc-c++) ;;
        jpeg) names+=(libjpeg-turbo-devel) ;;
        venv) names+=(python3-pip) ;;
        *) names+=("$part") ;;
      esac
    done
    echo "dnf install -y ${names[*]}"
  else
    for part; do
      case $part in
        c++) names+=("a C++17 compiler") ;;
        jpeg) names+=("libjpeg-turbo with its headers") ;;
        venv) names+=("Python 3 with pip") ;;
        *) names+=("$part") ;;
      esac
    done
    local IFS=,
    echo "${names[*]}" | sed 's/,/, /g'
  fi
}

# install_parts gets parts with apt-get where it may (root on Debian or Ubuntu); else it ends with the command to type.
install_parts() {
  local command
  command=$(package_command "$@")
  if [[ $(id -u) != 0 ]]; then
    die "this needs, once: sudo $command"
  elif [[ $command != apt-get* ]]; then
    die "this needs, once: $command"
  fi
  say "$command"
  local log
  log=$(mktemp)
  # The lists may be absent (a fresh container) or old: fetch them only when the first try fails.
  if ! DEBIAN_FRONTEND=noninteractive $command >"$log" 2>&1; then
    apt-get update >>"$log" 2>&1 || true
    if ! DEBIAN_FRONTEND=noninteractive $command >>"$log" 2>&1; then
      tail -n 5 "$log" >&2
      rm -f "$log"
      die "apt-get could not install them (its last lines are above); check the network and try: $command"
    fi
  fi
  rm -f "$log"
}

# check_go ends unless a Go is there that has the toolchain go.mod asks for, or can fetch it.
check_go() {
  local want have
  want=$(sed -n 's/^go \([0-9.]*\).*/\1/p' "$root/go.mod")
  command -v go >/dev/null ||
    die "Go is missing: install Go $want (https://go.dev/doc/install) and put its bin directory into PATH"
  # Asked outside the module, so that go does not try to fetch the toolchain before it can be explained.
  have=$(cd / && go env GOVERSION)
  have=${have#go}
  at_least "$have" "$want" && return
  at_least "$have" 1.21 ||
    die "this is Go $have; goclip needs Go $want: install it from https://go.dev/doc/install (Debian's own is older)"
  warn "this is Go $have; it will fetch Go $want by itself (GOTOOLCHAIN=auto)"
  (cd "$root" && go version >/dev/null 2>&1) ||
    die "Go $have could not fetch Go $want: install it from https://go.dev/doc/install, or set GOTOOLCHAIN=auto"
}

# install_deps is --deps: compiler, make, libjpeg-turbo, Go, and what fetches and unpacks the wheels.
install_deps() {
  local parts
  mapfile -t parts < <(missing_parts)
  if [[ -z $(installed_version "$prefix") ]]; then
    command -v curl >/dev/null || command -v python3 >/dev/null || parts+=(curl)
    command -v unzip >/dev/null || command -v python3 >/dev/null || parts+=(unzip)
  fi
  if ((${#parts[@]})); then install_parts "${parts[@]}"; fi
  mapfile -t parts < <(missing_parts)
  ((${#parts[@]} == 0)) || die "still missing: $(package_command "${parts[@]}")"
  check_go
  say "the build has what it needs: C++ compiler, make, libjpeg-turbo, $(cd / && go env GOVERSION)"
}
