#!/usr/bin/env bash
# Writes dist/goclip-VERSION-linux-ARCH.tar.gz, to be unpacked anywhere: programs, the libraries they
# need (except glibc and libstdc++), licences, man pages and completions. Beside it: the bill of
# materials (CycloneDX) and SHA-256 sums. The same commit gives the same bytes. `make release` calls it.
#
# usage: scripts/release.sh [VERSION]      (default: what git describe says)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
libtorch=$(cd third_party/libtorch/lib && pwd -P)
version=${1:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
arch=$(go env GOARCH)
name=goclip-$version-linux-$arch
date=$(git log -1 --format=%ct 2>/dev/null || echo 0)

# What every system with glibc has. libstdc++ is among it because we ask little of it (GLIBCXX_3.4.22, of 2016), and a copy
# of ours would ask for a newer glibc than our programs do.
system='^(ld-linux.*|libc|libm|libdl|libpthread|librt|libutil|libstdc\+\+|libgcc_s)\.so'

die() {
  echo "release: $*" >&2
  exit 1
}

# needed prints the libraries that a file names.
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# closure copies what a file needs, and what that needs, into lib/.
closure() {
  local soname file
  while read -r soname; do
    [[ $soname =~ $system || -e $stage/lib/$soname ]] && continue
    file=$libtorch/$soname
    [[ -e $file ]] || file=$(ldconfig -p | awk -v n="$soname" '$1 == n { print $NF; exit }')
    [[ -n $file ]] || die "$1 needs $soname, which is neither in $libtorch nor known to ldconfig"
    cp -L "$file" "$stage/lib/$soname"
    chmod 755 "$stage/lib/$soname"
    if [[ $file == "$libtorch"/* ]]; then
      echo "$soname libtorch $(sed -n 's/^version=//p' third_party/libtorch/goclip-libtorch 2>/dev/null || echo 2.11.0)" >>"$libraries"
    else
      from_system "$soname" "$file"
    fi
    closure "$file"
  done < <(needed "$1")
}

# from_system copies the licence of the Debian package that a library is from.
from_system() {
  local package path
  for path in "$2" "$(readlink -f "$2")" "${2#/usr}" "$(readlink -f "$2" | sed 's,^/usr,,')"; do
    package=$(dpkg -S "$path" 2>/dev/null | cut -d: -f1 | head -1) && [[ -n $package ]] && break
  done
  [[ -n $package && -e /usr/share/doc/$package/copyright ]] || die "the licence of $2 is not in /usr/share/doc: build on Debian, or add it by hand"
  mkdir -p "$stage/licenses/lib"
  cp -L "/usr/share/doc/$package/copyright" "$stage/licenses/lib/$1"
  echo "$1 $package $(dpkg-query -W -f '${Version}' "$package" | head -1)" >>"$libraries"
}

# modules copies the licences of the Go modules inside the programs, and of Go itself.
modules() {
  local path dir file
  while read -r path dir; do
    for file in "$dir"/{LICENSE,LICENCE,COPYING,NOTICE}*; do
      [[ -f $file ]] || continue
      mkdir -p "$stage/licenses/go/$path"
      cp "$file" "$stage/licenses/go/$path/"
    done
    [[ -d $stage/licenses/go/$path ]] || die "the module $path has no licence in $dir"
  done < <(go list -deps -tags release -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/... | sort -u)
  cp "$(go env GOROOT)/LICENSE" "$stage/licenses/go/LICENSE"
}

mkdir -p dist
stage=$(mktemp -d dist/.release.XXXXXX)
libraries=$stage.libraries # a line for each file in lib/: the file, its package, the version
trap 'rm -rf "$stage" "$libraries"' EXIT
: >"$libraries"
mkdir -p "$stage"/{bin,lib,licenses,man/man1,completions}
# The build's identity would name the directory, through the linker's flags.
go build -tags release -trimpath -ldflags "-s -w -buildid= -X main.release=$version" -o "$stage/bin/" ./cmd/train ./cmd/infer
for program in train infer; do
  [[ $(readelf -d "$stage/bin/$program" | sed -n 's/.*(RUNPATH).*\[\(.*\)\]/\1/p') == '$ORIGIN/../lib' ]] ||
    die "$program has another run path than \$ORIGIN/../lib: unset CGO_LDFLAGS"
  closure "$stage/bin/$program"
done

cp LICENSE NOTICE README.md README.ko.md CHANGELOG.md SECURITY.md "$stage/"
cp -r docs "$stage/docs"
modules
cp -rL third_party/libtorch/licenses "$stage/licenses/libtorch"
for file in clip/tokenizer/NOTICE clip/zeroshot/NOTICE; do cp "$file" "$stage/licenses/$(dirname "$file" | tr / -)-NOTICE"; done

scripts/man.sh "$stage/bin" "$stage/man/man1"
for program in train infer; do
  completion=("$stage/bin/$program" completion)
  [[ $program == infer ]] || completion=("$stage/bin/$program" --completion)
  "${completion[@]}" bash >"$stage/completions/$program.bash"
  "${completion[@]}" zsh >"$stage/completions/_$program"
  "${completion[@]}" fish >"$stage/completions/$program.fish"
done

go run ./scripts/sbom "$version" "$stage" < <(sort "$libraries") >"dist/$name.cdx.json.part"
mv "dist/$name.cdx.json.part" "dist/$name.cdx.json"
cp "dist/$name.cdx.json" "$stage/sbom.cdx.json"

chmod -R u=rwX,go=rX "$stage"
tar --sort=name --mtime="@$date" --owner=0 --group=0 --numeric-owner --transform "s,^\.,$name," -C "$stage" -cf - . | gzip -n >"dist/$name.tar.gz.part"
mv "dist/$name.tar.gz.part" "dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" "$name.cdx.json" >"$name.sha256")
echo "release: dist/$name.tar.gz, $(du -m "dist/$name.tar.gz" | cut -f1) MB; unpacked $(du -sm "$stage" | cut -f1) MB; needs glibc $(
  objdump -T "$stage"/bin/* "$stage"/lib/* | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1 | cut -d_ -f2) or newer"
