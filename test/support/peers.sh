#!/bin/sh
# Brings the programs that the e2e tests compare Sealift with (cosign 2 and 3, oras, skopeo, a registry), a
# Docker engine with its client and Compose, and a busybox for its containers. They come from Debian
# packages and are unpacked under a cache directory; nothing is installed on the machine, nothing runs as a
# service, and no root is needed. What cannot be had leaves a file NAME.missing with the reason, and its
# tests are skipped with that reason.
# `peers.sh long` also brings what only test/long needs: a browser and a newer C library.
# Runs again in a moment when everything is there. test/support/peers.ts finds the programs.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sealift-test
peers=$cache/peers
bin=$peers/bin
mkdir -p "$bin"
log=$cache/peers.log
: >"$log"

missing() {
  echo "$2" >"$bin/$1.missing"
  echo "peers: $1 is not here: $2" >&2
}

# The host's own Debian archive, as its apt sources name it; only the suite is ours to choose.
archive() {
  {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|Debian|//p'
    # Before the machine's first apt-get update only the address tells which archive it is.
    apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$'
  } 2>/dev/null | head -n 1
}
host_suite() { . /etc/os-release && echo "${VERSION_CODENAME:-}"; }

# apt with its own lists, cache and sources for one suite, and without the host's pins. Expired Release files are accepted: a frozen
# mirror's are always expired, and the signature is checked all the same.
private_apt() {
  suite=$1
  shift
  state=$cache/apt/$suite
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  apt-get -q -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state" -o "Dir::Cache::Archives=$state/archives" \
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o "APT::Sandbox::User=" \
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Update::Post-Invoke::= \
    -o Debug::NoLocking=true -o Acquire::Retries=3 "$@" >>"$log" 2>&1
}

updated=
update() {
  case " $updated " in *" $1 "*) return 0 ;; esac
  uri=$(archive)
  [ -n "$uri" ] || { echo "no Debian archive among this machine's apt sources" >"$cache/reason"; return 1; }
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -e "$keyring" ] || keyring=/etc/apt/trusted.gpg.d
  mkdir -p "$cache/apt/$1"
  echo "deb [signed-by=$keyring] $uri $1 main" >"$cache/apt/$1/sources.list"
  private_apt "$1" update || { echo "apt-get update of suite $1 failed, see $log" >"$cache/reason"; return 1; }
  updated="$updated $1"
}

# unpack NAME SUITE alone|closure PACKAGE...: into $peers/NAME, or leaves a reason.
# "closure" adds the dependencies that this machine lacks.
unpack() {
  name=$1 suite=$2 how=$3
  shift 3
  update "$suite" || { missing "$name" "$(cat "$cache/reason")"; return 1; }
  rm -rf "$peers/$name.new" "$cache/debs"
  mkdir -p "$peers/$name.new" "$cache/debs"
  if [ "$how" = alone ]; then
    (cd "$cache/debs" && private_apt "$suite" download "$@") || { missing "$name" "no $* in suite $suite"; return 1; }
  else
    rm -f "$cache/apt/$suite/archives/"*.deb
    private_apt "$suite" install --yes --reinstall --download-only --no-install-recommends "$@" ||
      { missing "$name" "no $* in suite $suite"; return 1; }
    mv "$cache/apt/$suite/archives/"*.deb "$cache/debs/"
  fi
  for deb in "$cache/debs/"*.deb; do dpkg -x "$deb" "$peers/$name.new"; done
  rm -rf "$cache/debs" "${peers:?}/$name"
  mv "$peers/$name.new" "$peers/$name"
}

# launcher NAME PROGRAM CHECK-ARGUMENT: a script that runs the unpacked program with its own libraries.
launcher() {
  root=$peers/$1
  program=$root$2
  [ -x "$program" ] || { missing "$1" "no $2 in the package"; return 1; }
  cat >"$bin/$1.new" <<SCRIPT
#!/bin/sh
export XTABLES_LIBDIR="$root/usr/lib/$(gcc_triplet)/xtables"
LD_LIBRARY_PATH="$root/usr/lib/$(gcc_triplet):$root/lib/$(gcc_triplet):$root/usr/lib/$(gcc_triplet)/pulseaudio" PATH="$root/usr/bin:$root/usr/sbin:$root/usr/libexec/docker:\$PATH" exec "$program" "\$@"
SCRIPT
  chmod 0755 "$bin/$1.new"
  if ! "$bin/$1.new" "$3" >>"$log" 2>&1; then
    missing "$1" "it does not start on this machine, see $log"
    rm -f "$bin/$1.new"
    return 1
  fi
  mv "$bin/$1.new" "$bin/$1"
  rm -f "$bin/$1.missing"
}
gcc_triplet() {
  case $(dpkg --print-architecture) in arm64) echo aarch64-linux-gnu ;; *) echo x86_64-linux-gnu ;; esac
}

# Where an unpacked package has the program NAME: bin and sbin move between suites.
unpacked() {
  (cd "$peers/$1" && find . -path "*bin/$1" | sed -n '1s/^\.//p')
}

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
  for name in cosign2 cosign3 oras skopeo registry dockerd docker docker-compose busybox ip mmdebstrap softhsm2-util newer-libc rpm par2 age; do
    [ -x "$bin/$name" ] || missing "$name" "this machine has no apt-get"
  done
  exit 0
fi

if [ ! -x "$bin/ip" ]; then
  found=$(PATH=$PATH:/usr/sbin:/sbin command -v ip || true)
  if [ -n "$found" ]; then
    ln -sf "$found" "$bin/ip"
  else
    { unpack ip "$(host_suite)" closure iproute2 && launcher ip "$(unpacked ip)" -V; } || true
  fi
fi
# Makes the small root file systems on which the kit's packages are tried. A Perl script; needs no library.
[ -x "$bin/mmdebstrap" ] ||
  { unpack mmdebstrap "$(host_suite)" closure mmdebstrap && launcher mmdebstrap /usr/bin/mmdebstrap --version; } || true
# A PKCS #11 token in software, with the tool that speaks to tokens beside it.
[ -x "$bin/softhsm2-util" ] || {
  unpack softhsm2-util "$(host_suite)" closure opensc opensc-pkcs11 softhsm2 libsofthsm2 &&
    launcher softhsm2-util /usr/bin/softhsm2-util --version
} || true
# Orders versions, as the owner of that order.
# Repairs what `bundle split` makes, and makes what `bundle repair` reads.
[ -x "$bin/par2" ] || { unpack par2 "$(host_suite)" closure par2 && launcher par2 /usr/bin/par2 --version; } || true
[ -x "$bin/rpm" ] || { unpack rpm "$(host_suite)" closure rpm && launcher rpm /usr/bin/rpm --version; } || true
# Scores CVSS vectors; Python only, and read from where it lies.
[ -d "$peers/python3-cvss" ] || unpack python3-cvss forky alone python3-cvss || true
[ -x "$bin/cosign2" ] || { unpack cosign2 trixie alone cosign && launcher cosign2 /usr/bin/cosign version; } || true
[ -x "$bin/cosign3" ] || { unpack cosign3 forky alone cosign && launcher cosign3 /usr/bin/cosign version; } || true
[ -x "$bin/age" ] || { unpack age trixie alone age && launcher age /usr/bin/age --version; } || true
[ -x "$bin/oras" ] || { unpack oras trixie alone oras && launcher oras /usr/bin/oras version; } || true
[ -x "$bin/skopeo" ] ||
  { unpack skopeo "$(host_suite)" closure skopeo && launcher skopeo /usr/bin/skopeo --version; } || true
[ -x "$bin/registry" ] ||
  { unpack registry "$(host_suite)" closure docker-registry && launcher registry /usr/bin/docker-registry --version; } ||
  true
# Docker of Debian 13 runs on Debian 12 too, with the containerd, runc and iptables of the host's own suite.
# iptables is a link that a package script would make; the engine's DNS in containers needs it.
{ [ -x "$bin/dockerd" ] && [ -x "$peers/dockerd/usr/sbin/iptables" ]; } || {
  unpack dockerd "$(host_suite)" closure containerd runc iptables && mv "$peers/dockerd" "$peers/containerd" &&
    unpack dockerd trixie alone docker.io tini && cp -a "$peers/containerd/." "$peers/dockerd/" &&
    rm -rf "$peers/containerd" && ln -s xtables-nft-multi "$peers/dockerd/usr/sbin/iptables" &&
    ln -s xtables-nft-multi "$peers/dockerd/usr/sbin/ip6tables" && launcher dockerd /usr/sbin/dockerd --version
} || true
[ -x "$bin/docker" ] ||
  { unpack docker trixie alone docker-cli && launcher docker /usr/bin/docker --version; } || true
[ -x "$bin/docker-compose" ] ||
  { unpack docker-compose trixie alone docker-compose &&
    launcher docker-compose /usr/libexec/docker/cli-plugins/docker-compose version; } || true
[ -x "$bin/busybox" ] ||
  { unpack busybox "$(host_suite)" alone busybox-static && launcher busybox "$(unpacked busybox)" true; } || true

# Large, and only for test/long: peers.sh long.
[ "${1:-}" = long ] || exit 0
# A C library that is new enough for the fuzzer's native part, called as NEWER-LIBC PROGRAM ARGUMENTS.
[ -x "$bin/newer-libc" ] || {
  unpack newer-libc trixie alone libc6 libstdc++6 libgcc-s1 libatomic1 &&
    launcher newer-libc "$(cd "$peers/newer-libc" && find . -type f -name 'ld-linux-*' | sed -n '1s/^\.//p')" --version
} || true
# Fonts lie beside it; test/long/verdict-in-browser.test.ts tells it where.
[ -x "$bin/chromium" ] || {
  unpack chromium "$(host_suite)" closure chromium-headless-shell fonts-dejavu-core &&
    launcher chromium /usr/lib/chromium/chromium-headless-shell --version
} || true
