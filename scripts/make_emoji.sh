#!/usr/bin/env bash
# Makes the emoji data set: fetches the pinned packages with npm, draws the images, writes the shards.
# Everything is pinned, so a second run writes the same bytes. docs/emoji.md says what comes out.
#
#   scripts/make_emoji.sh            # training shards in build/emoji, the committed part in data/
#
# PYTHON names another interpreter (3.10 or newer) that has scripts/emoji/requirements.txt installed.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$root/build/emoji
fetched=$out/npm

die() { echo "make_emoji: $*" >&2; exit 1; }

command -v npm >/dev/null || die "npm is missing; install Node.js 18 or newer"
mkdir -p "$fetched"

if [[ -z ${PYTHON:-} ]]; then
  command -v python3 >/dev/null || die "python3 is missing; install Python 3.10 or newer, or set PYTHON"
  PYTHON=$out/venv/bin/python
  if [[ ! -x $PYTHON ]]; then
    python3 -m venv "$out/venv" || die "python3 cannot make a virtual environment; install python3-venv, or set PYTHON"
  fi
  "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$root/scripts/emoji/requirements.txt"
fi

# The sums in packages.py are checked when the files are read.
"$PYTHON" "$root/scripts/emoji/packages.py" | while read -r spec file; do
  [[ -s $fetched/$file ]] && continue
  echo "fetching $spec"
  part=$(mktemp -d "$fetched/part.XXXXXX")
  npm pack --silent --pack-destination "$part" "$spec" >/dev/null || { rm -rf "$part"; die "npm could not fetch $spec"; }
  mv "$part"/*.tgz "$fetched/$file"
  rmdir "$part"
done

exec "$PYTHON" "$root/scripts/emoji/make_shards.py" --packages "$fetched" --out "$out" --data "$root/data" "$@"
