#!/usr/bin/env bash
# Lets the built-in model classify and search images of a vendor that it never saw (OpenMoji's 1,914), in the terminal and then
# on a page. `make page-demo` calls it after the build; arguments go to infer serve (--addr 127.0.0.1:9000).
# DIR holds the images, build/openmoji-held-out without; INFER is the command, bin/infer without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
infer=${INFER:-bin/infer}
dir=${DIR:-build/openmoji-held-out}

# A folder for each name: "dog face/dog face.png". The commands read pixels; the names are for people.
if [ ! -d "$dir" ]; then
  mkdir -p "$(dirname "$dir")"
  new=$(mktemp -d "$dir.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  for shard in data/openmoji-eval-0000{0,1}.tar; do
    tar xf "$shard" -C "$new"
  done
  for text in "$new"/*.txt; do
    name=$(<"$text")
    mkdir "$new/$name"
    mv "${text%.txt}.png" "$new/$name/$name.png"
  done
  rm "$new"/*.txt
  chmod 755 "$new"
  mv "$new" "$dir"
  trap - EXIT
fi

echo "== six images, six labels =="
images=()
for name in "dog face" "racing car" "house with garden" "red apple" "evergreen tree" "sailboat"; do
  images+=("$dir/$name/$name.png")
done
"$infer" classify --label dog --label car --label house --label fruit --label tree --label ship --template '{}' --top 2 "${images[@]}"

echo
echo "== 1,914 images, 1,914 names (chance: 0.0005) =="
"$infer" classify --labels-from-dirs --template '{}' --template 'a picture of a {}' "$dir" | grep '^top-1'

echo
echo "== searched by words =="
"$infer" index "$dir"
for words in "racing car" "heart" "dog face"; do
  echo "-- $words"
  "$infer" search -n -t 3 "$words" "$dir"
done

echo
echo "== the page: open the address below; Ctrl-C ends =="
exec "$infer" serve --index "$dir/.goclip" "$@"
