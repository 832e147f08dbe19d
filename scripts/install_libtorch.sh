#!/usr/bin/env bash
# Installs libtorch 2.11.0 where goclip's build finds it: builds cmd/libtorch, once Go is there, and runs it.
#
# usage: scripts/install_libtorch.sh [--cpu|--cuda|--auto] [--prefix DIR] [--from-python|--archive]
#        scripts/install_libtorch.sh --deps
#        scripts/install_libtorch.sh --print-env [--prefix DIR]
#        scripts/install_libtorch.sh --help
#
# DIR is third_party/libtorch of this checkout if none is given.
# Exit status: 0 installed, or there already; 1 it cannot be, with the reason; 2 wrong flags.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

warn() { echo "install_libtorch: $*" >&2; }
die() {
  warn "$@"
  exit 1
}
wrong_flag() {
  warn "$*; see --help"
  exit 2
}

# at_least compares two dotted versions: is the first the second or later?
at_least() {
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
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
  warn "this is Go $have; it will download Go $want (GOTOOLCHAIN=auto)"
  (cd "$root" && go version >/dev/null 2>&1) ||
    die "Go $have could not fetch Go $want: install it from https://go.dev/doc/install, or set GOTOOLCHAIN=auto"
}

command=install prefix=$root/third_party/libtorch flags=()
while (($#)); do
  case $1 in
    --cpu | --cuda | --auto | --from-python | --archive) flags+=("$1") ;;
    --prefix)
      (($# > 1)) || wrong_flag "--prefix needs a directory"
      prefix=$2
      shift
      ;;
    --prefix=*) prefix=${1#--prefix=} ;;
    --deps) command=deps ;;
    --print-env) command=env ;;
    --help | -h) flags+=(--help) ;;
    *) wrong_flag "$1 is not a flag of this script" ;;
  esac
  shift
done
[[ $command == deps ]] || flags+=(--prefix "$prefix")

check_go
# No C compiler need be there yet.
CGO_ENABLED=0 go -C "$root" build -buildvcs=false -o build/libtorch ./cmd/libtorch || die "cmd/libtorch could not be built"
exec "$root/build/libtorch" "$command" "${flags[@]}"
