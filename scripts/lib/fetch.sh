# shellcheck shell=bash
# Gets a file with a known SHA-256 into the cache, continuing where an earlier run stopped. Sourced by
# install_libtorch.sh, which defines die, say and warn. Package indexes are reached as the user's pip is configured.

# fetch_wheel PACKAGE FILE SHA256 BYTES sets `fetched` to a file whose sum is right.
fetch_wheel() {
  local package=$1 file=$2 sum=$3 bytes=$4 url
  if [[ -n ${GOCLIP_WHEELS:-} && -d $GOCLIP_WHEELS ]]; then
    fetched=$GOCLIP_WHEELS/$file
    [[ -f $fetched ]] || die "GOCLIP_WHEELS: $GOCLIP_WHEELS has no $file"
    [[ $(sha256 "$fetched") == "$sum" ]] || die "$fetched: its SHA-256 is $(sha256 "$fetched"), not $sum; get it anew"
    return
  fi
  fetched=$cache/$file
  if [[ -f $fetched ]]; then
    [[ $(sha256 "$fetched") != "$sum" ]] || return 0
    rm -f "$fetched"
    warn "$fetched was damaged; fetching it again"
  fi
  if [[ -n ${GOCLIP_WHEELS:-} ]]; then
    url=${GOCLIP_WHEELS%/}/$file
  else
    find_url "$package" "$file"
  fi
  say "fetching $file ($((bytes / 1000000)) MB)"
  download "$url" "$fetched.part" "$sum"
  mv -f "$fetched.part" "$fetched"
}

# find_url sets `url`: it asks the package index that pip is configured for where FILE of PACKAGE is. pip's listing is used
# rather than `pip download`, which cannot continue an interrupted download.
find_url() {
  local package=$1 file=$2 listing
  find_pip
  listing=$("${pip[@]}" index versions -vvv --disable-pip-version-check --retries 1 --timeout 20 "$package" 2>&1) || true
  url=$(grep -oE "(https?|file)://[^ #]*/${file//./\\.}" <<<"$listing" | head -n 1) || true
  if [[ -z $url ]]; then
    if grep -qE "://[^ ]*\.(whl|tar\.gz)" <<<"$listing"; then
      die "the package index that pip is configured for has no $file; get that file elsewhere, and name its directory in GOCLIP_WHEELS"
    fi
    die "the package index that pip is configured for does not answer for $package: check the network (and pip config list)," \
      "or name a directory that has $file in GOCLIP_WHEELS"
  fi
  # curl should trust whom pip trusts.
  authority=${PIP_CERT:-$("${pip[@]}" config get global.cert 2>/dev/null)} || true
}

# find_pip sets `pip` to a command, without installing a Python package where others would see it: a pip that is there, or
# one in a virtual environment inside the cache.
find_pip() {
  local python=${PYTHON:-python3}
  pip=("$python" -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 && return
  pip=("$cache/venv/bin/python" -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 && return
  if ! make_venv "$python"; then
    install_parts venv
    make_venv "$python" || die "$python cannot make a virtual environment with pip in $cache/venv"
  fi
}

make_venv() {
  rm -rf "$cache/venv"
  "$1" -m venv "$cache/venv" >/dev/null 2>&1 && return
  rm -rf "$cache/venv"
  return 1
}

# download URL PART SHA256 continues PART until its sum is right. A connection that breaks is taken up again as long as
# each try brings bytes; a server that cannot continue, or a part that is not of this file, is begun again once.
download() {
  local url=$1 part=$2 sum=$3 before status begun=0 failed=0 got
  while :; do
    before=$(size_of "$part")
    status=0
    transfer "$url" "$part" || status=$?
    case $status in
      0 | 22 | 33) # done, or the server refused to continue: the part may be whole, or not of this file
        got=$(sha256 "$part")
        [[ $got != "$sum" ]] || return 0
        rm -f "$part"
        ((status == 0 && before == 0)) && die "$(basename "$url"): its SHA-256 is $got, not $sum; the file was deleted. Try again, and if it persists, check the package index."
        ((before > 0 && begun++ == 0)) || die "$(hide_user "$url") cannot be fetched: the server refuses it; get it elsewhere, and name its directory in GOCLIP_WHEELS"
        ;;
      23 | 153) die "$part cannot be written: $(dirname "$part") is full, or may not hold a file this large; free some space, or choose another place with XDG_CACHE_HOME" ;;
      *)
        if (($(size_of "$part") > before)); then failed=0; else ((++failed)); fi
        ((failed < 2)) || die "$(hide_user "$url") cannot be fetched: check the network; what came is kept, and the next run continues it"
        ;;
    esac
  done
}

# transfer returns curl's statuses, from either client: 0 done, 22 refused, 23 cannot write, 33 cannot continue, else broken.
transfer() {
  local url=$1 part=$2 progress=--silent trust=()
  if command -v curl >/dev/null; then
    [[ -t 2 ]] && progress=--progress-bar
    [[ -f ${authority:-} ]] && trust=(--cacert "$authority")
    curl "$progress" "${trust[@]}" --fail --location --netrc-optional --connect-timeout 20 \
      --speed-limit 1000 --speed-time 60 --continue-at - --output "$part" "$url"
    return
  fi
  command -v "${PYTHON:-python3}" >/dev/null || install_parts curl
  command -v curl >/dev/null && { transfer "$@"; return; }
  "${PYTHON:-python3}" - "$url" "$part" <<'PY'
import errno, os, sys, urllib.error, urllib.request
url, part = sys.argv[1:]
start = os.path.getsize(part) if os.path.exists(part) else 0
request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
try:
    with urllib.request.urlopen(request, timeout=60) as response:
        if start and response.status != 206:
            sys.exit(33)
        want = start + int(response.headers.get("Content-Length") or 0)
        try:
            with open(part, "ab") as out:
                while block := response.read(1 << 20):
                    out.write(block)
        except OSError as e:
            sys.exit(23 if e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES) else 18)
        sys.exit(18 if os.path.getsize(part) < want else 0)
except urllib.error.HTTPError:
    sys.exit(22)
except OSError:
    sys.exit(7)
PY
}

# hide_user removes a user and password from a URL before it is printed.
hide_user() {
  sed 's#//[^/@]*@#//#' <<<"$1"
}

sha256() {
  [[ -f $1 ]] && sha256sum "$1" | cut -d' ' -f1
}

size_of() {
  if [[ -f $1 ]]; then stat -c %s "$1"; else echo 0; fi
}

# unpack FILE DIR EXCLUDED... -- PATTERN... writes the members of a zip file that match a pattern.
unpack() {
  local file=$1 dir=$2 excluded=()
  shift 2
  while [[ $1 != -- ]]; do
    excluded+=("$1")
    shift
  done
  shift
  if command -v unzip >/dev/null; then
    # 11: no member matches one of the patterns, which is as it should be for a wheel without that part.
    local status=0
    unzip -q -o "$file" "$@" -d "$dir" -x "${excluded[@]}" 2>/dev/null || status=$?
    ((status == 0 || status == 11)) && return
    return 1
  fi
  command -v "${PYTHON:-python3}" >/dev/null || { install_parts unzip; unpack "$file" "$dir" "${excluded[@]}" -- "$@"; return; }
  "${PYTHON:-python3}" - "$file" "$dir" "${excluded[@]}" -- "$@" <<'PY'
import fnmatch, sys, zipfile
path, out, *rest = sys.argv[1:]
cut = rest.index("--")
excluded, wanted = rest[:cut], rest[cut + 1:]
match = lambda name, patterns: any(fnmatch.fnmatchcase(name, p) for p in patterns)
try:
    with zipfile.ZipFile(path) as z:
        z.extractall(out, [n for n in z.namelist() if match(n, wanted) and not match(n, excluded)])
except OSError:
    sys.exit(1)
PY
}
