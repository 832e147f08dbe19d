#!/usr/bin/env bash
# Builds the release archive of the last commit twice, in this checkout and in another directory with
# an empty build cache, and compares the bytes. `make release-same` calls it.
#
# usage: scripts/release_same.sh VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -z $(git status --porcelain) ]] || { echo "release-same: commit the changes first; the archive is that of a commit" >&2; exit 1; }
here=$PWD
other=$(mktemp -d "${TMPDIR:-/tmp}/goclip-same.XXXXXX")
trap 'git worktree remove --force "$other/checkout"; rm -rf "$other"' EXIT
git worktree add -q --detach "$other/checkout"
mkdir "$other/checkout/third_party"
ln -s "$(realpath third_party/libtorch)" "$other/checkout/third_party/libtorch"
scripts/release.sh "$1"
(cd "$other/checkout" && GOCACHE=$other/cache scripts/release.sh "$1")
for file in "$other"/checkout/dist/goclip-*; do
  cmp "$file" "$here/dist/$(basename "$file")"
  echo "release-same: $(basename "$file") has the same bytes"
done
