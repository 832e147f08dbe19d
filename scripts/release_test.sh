#!/usr/bin/env bash
# Unpacks a release archive and runs it where there is nothing else: a root directory with the archive, glibc, libstdc++ and /proc, an
# empty environment, no network. `make release-test` calls it.
#
# usage: scripts/release_test.sh ARCHIVE
set -euo pipefail
archive=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ ${2:-} == inside ]]; then
  # In namespaces of its own, as their root.
  root=$3
  mount -t proc proc "$root/proc"
  mount --bind /dev/urandom "$root/dev/urandom"
  shift 3
  exec env -i /usr/sbin/chroot "$root" "$@"
fi

root=$(mktemp -d "${TMPDIR:-/tmp}/goclip-release.XXXXXX")
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{dev,opt,proc,tmp}
touch "$root/dev/urandom"
tar -xzf "$archive" -C "$root/opt"
goclip=/opt/$(basename "$archive" .tar.gz)
for library in /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu/lib{c.so.6,m.so.6,dl.so.2,pthread.so.0,rt.so.1,util.so.1,stdc++.so.6,gcc_s.so.1}; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
cp "$here"/data/demo/{dog,racing_car}.png "$here/testdata/preprocess/pictures/face.png" "$root/tmp/"
jpeg=$(find "$here/testdata/preprocess/pictures" -name '*.jpg' | sort | head -1)
cp "$jpeg" "$root/tmp/photo.jpg"

# run runs a program of the archive in there.
run() { unshare --map-root-user --mount --pid --net --ipc --fork "${BASH_SOURCE[0]}" "$archive" inside "$root" "$goclip/bin/$1" "${@:2}"; }

failed() {
  echo "release-test: $*" >&2
  exit 1
}

echo "== infer doctor, of $(basename "$archive"), in an empty root =="
run infer doctor --format json >"$root/doctor.json" 2>"$root/doctor.err" || {
  cat "$root/doctor.json" "$root/doctor.err" >&2
  failed "infer doctor finds something wrong"
}
elsewhere=$(grep -o '"path":"[^"]*"' "$root/doctor.json" | cut -d'"' -f4 | grep -vE "^($goclip/lib/|/lib(64)?/)" || true)
[[ -z $elsewhere ]] || failed "libraries from elsewhere are loaded: $elsewhere"
ours=$(grep -o "\"path\":\"$goclip/lib/[^\"]*\"" "$root/doctor.json" | wc -l)
((ours == $(find "$root$goclip/lib" -type f | wc -l))) || failed "lib/ holds $(find "$root$goclip/lib" -type f | wc -l) libraries and $ours are loaded"
run infer doctor

echo "== the demo's two images are scored, and a JPEG =="
run infer score --text "A cute dog" --text "A fast car" /tmp/dog.png /tmp/racing_car.png /tmp/photo.jpg | tee "$root/scores"
awk 'NR == 2 && $2 > 0.9 { dog = 1 } NR == 3 && $3 > 0.8 { car = 1 } END { exit !(dog && car) }' "$root/scores" || failed "the scores are wrong"

echo "== two steps are trained =="
run train --model emoji-64 --dataset-type synthetic --train-num-samples 8 --batch-size 4 --epochs 1 --workers 1 --logs /tmp/logs --name t 2>&1 | tail -1
[[ -s $root/tmp/logs/t/checkpoints/latest/open_clip_model.safetensors ]] || failed "train wrote no model"

for file in LICENSE NOTICE README.md licenses/go/LICENSE licenses/libtorch licenses/lib/libjpeg.so.62 man/man1/infer.1 man/man1/train.1 completions/infer.bash completions/_train; do
  [[ -e $root$goclip/$file ]] || failed "the archive lacks $file"
done
! grep -rlF "$here" "$root$goclip/bin" || failed "a program names the directory that it was built in"
echo "release-test: $(basename "$archive") runs with nothing but glibc and libstdc++"
