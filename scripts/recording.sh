#!/usr/bin/env bash
# Records docs/images/terminal.svg: scoring, classifying and searching emoji with the built-in
# model. `make recording` calls it. It needs asciinema (apt-get install asciinema) and npx.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == play ]]; then
  cd "$2"
  play() {
    printf '\033[1;32m$\033[0m '
    for ((i = 0; i < ${#1}; i++)); do printf '%s' "${1:i:1}" && sleep 0.03; done
    echo
    eval "$1"
    sleep 1.5
  }
  play 'infer score --image dog.png --text "a dog" --text "a racing car"'
  play 'infer classify --label "dog face" --label rocket --label pizza photos/{dog_face,rocket,pizza}.png'
  play 'infer search -t 3 "racing car" photos'
  printf '\033[1;32m$\033[0m '
  sleep 5
  printf ' ' # the last frame lasts until something is printed
  exit
fi

root=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/photos"
cp data/demo/dog.png "$dir/"
for shard in data/openmoji-eval-0000?.tar; do tar -xf "$shard" -C "$dir/photos"; done
(cd "$dir/photos" && for text in *.txt; do mv "${text%.txt}.png" "$(tr ' /' '__' <"$text").png" && rm "$text"; done)
export PATH=$root/bin:$PATH HOME=$dir
(cd "$dir" && infer index photos 2>/dev/null) # so that the recording does not wait for it
asciinema rec -q --overwrite --cols 100 --rows 16 -c "bash '$root/scripts/recording.sh' play '$dir'" "$dir/goclip.cast"
npx --yes svg-term-cli@2.1.1 --in "$dir/goclip.cast" --out docs/images/terminal.svg --window --width 100 --height 16
