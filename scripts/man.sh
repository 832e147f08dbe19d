#!/usr/bin/env bash
# Writes the man pages of the programs in BIN to OUT, and reads them with mandoc where it is installed: make man.
#
# usage: scripts/man.sh BIN OUT
set -euo pipefail
mkdir -p "$2"
"$1/infer" man >"$2/infer.1"
"$1/train" --man >"$2/train.1"
if command -v mandoc >/dev/null; then
  # A program that was built without git's knowledge has no date.
  mandoc -Tlint -Wwarning "$2"/{infer,train}.1 | grep -v 'missing date' >&2 && exit 1
fi
exit 0
