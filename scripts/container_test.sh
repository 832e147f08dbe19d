#!/usr/bin/env bash
# Builds the Dockerfile with buildah and runs the image: doctor, two scores, the server and its
# health check, and that the user is not root. `make container-test` calls it, as root.
#
# Where the two base images cannot be pulled, Debian 12 by debootstrap stands in for them, with this
# machine's Go in the one that builds. The wheels of libtorch come from goclip's cache if it has
# them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for program in buildah debootstrap; do
  command -v $program >/dev/null || { echo "container-test: run: apt-get install buildah debootstrap" >&2; exit 1; }
done
storage=${TMPDIR:-/tmp}/goclip-containers # outside the checkout: it holds Go sources of its own
mkdir -p "$storage"
b() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }
failed() {
  echo "container-test: $*" >&2
  exit 1
}

# stand_in makes an image of the system in a directory.
stand_in() {
  local container
  container=$(b from scratch)
  b add -q "$container" "$2" /
  [[ -z ${3:-} ]] || b config --env "PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" "$container"
  b commit -q "$container" "$1" >/dev/null
  b rm "$container" >/dev/null
}

if ! b images -q docker.io/library/golang:1.26-bookworm >/dev/null 2>&1; then
  if ! { b pull -q docker.io/library/debian:bookworm-slim && b pull -q docker.io/library/golang:1.26-bookworm; } 2>/dev/null; then
    echo "container-test: the base images cannot be pulled; Debian by debootstrap stands in for them"
    slim=$storage/slim golang=$storage/golang
    [[ -e $slim/etc/debian_version ]] || { rm -rf "$slim" && debootstrap --variant=minbase bookworm "$slim" >"$storage/debootstrap.log" 2>&1; }
    [[ -e $golang/usr/local/go/bin/go ]] || {
      rm -rf "$golang"
      debootstrap --variant=minbase --include=ca-certificates,git,g++,gcc,libc6-dev,make,pkg-config bookworm "$golang" >>"$storage/debootstrap.log" 2>&1
      mkdir -p "$golang/usr/local/go" && cp -rL "$(go env GOROOT)/." "$golang/usr/local/go/"
    }
    # What this machine knows of package sources and certificates.
    for system in "$slim" "$golang"; do
      cp -rL /etc/apt/sources.list.d /etc/apt/apt.conf.d "$system/etc/apt/" 2>/dev/null || true
      mkdir -p "$system/etc/ssl/certs" && cp -L /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/"
    done
    stand_in docker.io/library/debian:bookworm-slim "$slim"
    stand_in docker.io/library/golang:1.26-bookworm "$golang" go
  fi
fi

arguments=() wheels=${XDG_CACHE_HOME:-$HOME/.cache}/goclip
if compgen -G "$wheels/torch-*.whl" >/dev/null; then arguments+=(--volume "$wheels:/wheels:ro" --build-arg GOCLIP_WHEELS=/wheels); fi
proxy=$(go env GOPROXY)
b bud -q --format docker --isolation chroot --pull=never --volume "$(go env GOMODCACHE)/cache/download:/modules:ro" \
  --env "GOPROXY=file:///modules,$proxy" --unsetenv GOPROXY "${arguments[@]}" --build-arg VERSION=container -t goclip .

container=$(b from --pull=never goclip)
trap 'b rm "$container" >/dev/null' EXIT
run() { b run --isolation chroot --user "$user" --volume "$PWD/data/demo:/data:ro" "$container" -- "$@"; }
user=$(b inspect --format '{{.OCIv1.Config.User}}' "$container")
[[ $user == goclip ]] || failed "the image runs as '$user'"
[[ $(run id -u) == 10001 ]] || failed "the user is not 10001"
! run touch /opt/goclip/x 2>/dev/null || failed "the user can write /opt/goclip"
run touch /cache/x || failed "the user cannot write /cache"
run infer doctor | tee "$storage/doctor" || failed "infer doctor finds something wrong"
for library in libheif libjxl OpenJPEG; do grep -q "by $library" "$storage/doctor" || failed "the image lacks $library"; done
run infer score --image dog.png --image racing_car.png --text "A cute dog" --text "A fast car" | tee "$storage/scores"
awk 'NR == 2 && $2 > 0.9 { dog = 1 } NR == 3 && $3 > 0.8 { car = 1 } END { exit !(dog && car) }' "$storage/scores" || failed "the scores are wrong"

b inspect --type image goclip | grep -F 'Healthcheck\":{\"Test\":[\"CMD\",\"infer\",\"doctor\"' >/dev/null || failed "the image has no health check"
setsid buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs run --isolation chroot --user "$user" \
  "$container" -- infer serve --addr 127.0.0.1:18080 >"$storage/serve.log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -q http:// "$storage/serve.log" && break; sleep 0.2; done
run infer doctor --server 127.0.0.1:18080 || failed "the server is not healthy: $(cat "$storage/serve.log")"
kill -TERM -- "-$server"
wait "$server" || true
! run infer doctor --server 127.0.0.1:18080 2>/dev/null || failed "the health check passes without a server"
echo "container-test: the image scores, serves and is healthy, as user 10001"
