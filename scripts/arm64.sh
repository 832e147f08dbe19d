#!/usr/bin/env bash
# Cross-builds bin/train and bin/infer and some test binaries for arm64 into build/arm64, and runs
# them under qemu-user: the demo's two images are scored and the goldens of tokenizer, images and
# towers compared. `make arm64` calls it.
#
# It needs Debian's g++-aarch64-linux-gnu and qemu-user. libtorch and libjpeg-turbo for arm64 go to
# build/arm64; nothing is installed on the system.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$PWD/build/arm64
sysroot=$out/sysroot

missing=()
command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(g++-aarch64-linux-gnu)
command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
if ((${#missing[@]})); then
  echo "arm64: run: apt-get install ${missing[*]}" >&2
  exit 1
fi

mkdir -p "$out/apt/partial" "$sysroot"
CGO_ENABLED=0 go build -buildvcs=false -o build/libtorch ./cmd/libtorch
[[ -e $out/libtorch/lib/libtorch_cpu.so ]] || build/libtorch install --cpu --machine aarch64 --prefix "$out/libtorch"

# Debian's arm64 packages, with package lists of their own.
if [[ ! -e $sysroot/usr/include/turbojpeg.h ]]; then
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$out/apt"
    -o Dir::State::status=/dev/null -o Dir::Cache::archives="$out/apt" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$out/apt" && "${apt[@]}" download libjpeg62-turbo libjpeg62-turbo-dev libturbojpeg0 libturbojpeg0-dev)
  for package in "$out"/apt/*.deb; do dpkg-deb -x "$package" "$sysroot"; done
fi

libraries=$sysroot/usr/lib/aarch64-linux-gnu
export CGO_ENABLED=1 GOOS=linux GOARCH=arm64 CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++
export CGO_CFLAGS="-O2 -I$sysroot/usr/include -I$sysroot/usr/include/aarch64-linux-gnu" CGO_CXXFLAGS="-O2 -isystem $out/libtorch/include"
export CGO_LDFLAGS="-L$out/libtorch/lib -L$libraries -Wl,-rpath-link,$out/libtorch/lib"
go build -o "$out/" ./cmd/train ./cmd/infer
packages=(clip/tokenizer clip/preprocess torch clip)
for package in "${packages[@]}"; do go test -c -o "$out/${package//\//-}.test" "./$package"; done

emulated() { qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$out/libtorch/lib:$libraries" -E OMP_WAIT_POLICY=passive "$@"; }

echo "== infer score, on an emulated arm64 processor =="
emulated "$out/infer" score --image data/demo/dog.png --image data/demo/racing_car.png --text "A cute dog" --text "A fast car" | tee "$out/scores"
awk 'NR == 2 && $2 > 0.9 { dog = 1 } NR == 3 && $3 > 0.8 { car = 1 } END { exit !(dog && car) }' "$out/scores" ||
  { echo "arm64: the scores are wrong" >&2; exit 1; }
declare -A tests=([clip/tokenizer]=Golden [clip/preprocess]=Golden [torch]='Call|Backward|Golden' [clip]='Golden|Variants')
for package in "${packages[@]}"; do
  echo "== $package: ${tests[$package]} =="
  (cd "$package" && emulated "$out/${package//\//-}.test" -test.run "${tests[$package]}" -test.timeout 30m)
done
