# shellcheck shell=bash
# The place where libtorch is: what is in it, and how a new one takes its place in one step. Sourced by
# install_libtorch.sh, which defines die, say, warn, version, root, prefix and staged.

# installed_version prints the version of the libtorch in DIR, or nothing. It reads what all ways of shipping one have.
installed_version() {
  local header=$1/include/torch/headeronly/version.h
  [[ -e $1/lib/libtorch_cpu.so ]] || return 0
  [[ -f $header ]] || header=$1/include/torch/csrc/api/include/torch/version.h
  [[ -f $header ]] || return 0
  awk '/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) / { printf "%s%s", dot, $3; dot = "." }' "$header"
}

# stamp prints one field of the file that this script leaves in what it installs: version, kind or source.
stamp() {
  [[ ! -f $prefix/goclip-libtorch ]] || sed -n "s/^$1=//p" "$prefix/goclip-libtorch"
}

# already_there says so, in one line, when PREFIX has what is asked for.
already_there() {
  local kind=$1 found has=cpu
  found=$(installed_version "$prefix")
  [[ $found == "$version" ]] || return 1
  [[ ! -e $prefix/lib/libtorch_cuda.so ]] || has=cuda
  [[ $device != cuda || $has == cuda ]] || return 1
  if [[ $kind == cuda && $has == cpu ]]; then
    say "libtorch $version (cpu) is in $prefix already; this machine has a GPU, for which --cuda would install the libraries"
  else
    say "libtorch $version ($has) is in $prefix already; nothing to do"
  fi
}

# check_replaceable ends if PREFIX holds what this script did not put there.
check_replaceable() {
  local found
  if [[ -L $prefix ]]; then return; fi
  [[ -e $prefix ]] || return 0
  [[ -d $prefix ]] || die "$prefix is a file; move it away, or choose another --prefix"
  if [[ -f $prefix/goclip-libtorch || -z $(ls -A "$prefix") ]]; then return; fi
  found=$(installed_version "$prefix")
  [[ -n $found ]] || die "$prefix holds something else than libtorch; choose a new directory with --prefix"
  die "$prefix holds libtorch $found, which this script did not install; move it away, or choose another --prefix"
}

# make_parent makes the directory that holds PREFIX, and ends if nothing can be written there.
make_parent() {
  local parent
  parent=$(dirname "$prefix")
  if ! mkdir -p "$parent" 2>/dev/null || [[ ! -w $parent ]]; then
    die "$parent cannot be written; install elsewhere with --prefix (goclip also looks in /usr/local/libtorch)"
  fi
  # What an install that was killed left behind.
  rm -rf "$prefix".new.*
}

make_cache() {
  if ! mkdir -p "$cache" 2>/dev/null || [[ ! -w $cache ]]; then
    die "$cache cannot be written; choose another place with XDG_CACHE_HOME"
  fi
  # Two installs at once would write one part file.
  command -v flock >/dev/null || return 0
  exec 9>"$cache/lock"
  flock -n 9 && return
  say "another install is fetching into $cache; waiting for it"
  flock 9
}

# check_loads ends unless the dynamic loader finds all that the libraries in DIR need, as it will for a program.
check_loads() {
  local dir=$1 library missing
  for library in libtorch_cpu.so libtorch_cuda.so; do
    [[ -e $dir/$library ]] || continue
    missing=$(env -u LD_LIBRARY_PATH ldd "$dir/$library" 2>&1) || die "$dir/$library cannot be loaded on this system: it is damaged, or for another machine"
    missing=$(sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' <<<"$missing" | sort -u | tr '\n' ' ')
    [[ -z $missing ]] || die "$dir/$library needs ${missing% }, not found beside it nor on this system"
  done
}

# finish checks the staged install, stamps it and puts it in place.
finish() {
  local kind=$1 from=$2 found
  found=$(installed_version "$staged")
  [[ $found == "$version" ]] || die "what was unpacked is libtorch ${found:-of an unknown version}, not $version"
  check_loads "$staged/lib"
  printf '%s\n' "version=$version" "kind=$kind" "source=$from" >"$staged/goclip-libtorch"
  replace_prefix
}

# replace_prefix puts the staged directory (or link) at PREFIX; what was there goes only when the new one stands.
replace_prefix() {
  local old=$prefix.old.$$
  if [[ -e $prefix || -L $prefix ]]; then mv -T "$prefix" "$old"; fi
  if ! mv -T "$staged" "$prefix"; then
    if [[ -e $old || -L $old ]]; then mv -T "$old" "$prefix"; fi
    die "$prefix could not be put in place"
  fi
  staged=
  rm -rf "$old"
}

# known_prefix: is PREFIX one of the two places that goclip's own build flags name?
known_prefix() {
  [[ $prefix == "$root/third_party/libtorch" || $prefix == /usr/local/libtorch ]]
}

# print_env prints shell lines; Go splits these variables at spaces and understands single quotes.
print_env() {
  local q=
  [[ $(installed_version "$prefix") == "$version" ]] || die "$prefix has no libtorch $version; install it first"
  if known_prefix; then
    echo "# goclip's build finds $prefix by itself"
    return
  fi
  case $prefix in
    *[\'\"\$\`\\,]*) die "$prefix: choose a path without quotes, commas, dollar signs or backslashes" ;;
    *[[:space:]]*) q=\' ;;
  esac
  echo "export CGO_CXXFLAGS=\"$q-isystem$prefix/include$q $q-isystem$prefix/include/torch/csrc/api/include$q \${CGO_CXXFLAGS:--g -O2}\""
  echo "export CGO_LDFLAGS=\"$q-L$prefix/lib$q $q-Wl,-rpath,$prefix/lib$q $q-Wl,-rpath-link,$prefix/lib$q \${CGO_LDFLAGS:-}\""
}
