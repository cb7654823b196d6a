#!/bin/sh
# The test command: brings the toolchain, then runs one suite (unit, e2e, all, long, bench).
set -eu
cd "$(dirname "$0")/.."
./sealift --version
node=node_modules/.bin/node
# Brought by the launcher where the host has none.
if [ -e node_modules/.library/libatomic.so.1 ]; then export LD_LIBRARY_PATH="$PWD/node_modules/.library"; fi
# Keeps what V8 compiles, as the launcher does, so that verbs start in the time in which they start for a user. For
# this run: what is called from temporary places would fill the launcher's own directory.
keep_compiled() {
  NODE_COMPILE_CACHE=$(mktemp -d)
  export NODE_COMPILE_CACHE
  trap 'rm -rf "$NODE_COMPILE_CACHE"' EXIT
}
unit() {
  # Not a process each, which takes 40 s more for 200 small files; but two of them, for two processors. What needs
  # its own process is under test/e2e.
  printf '1/2\n2/2\n' | xargs -P 2 -I SHARD sh -c "find test -name '*.test.ts' -not -path '*/node_modules/*' \
    -not -path 'test/e2e/*' -not -path 'test/long/*' | sort | xargs \
    $node --test --test-isolation=none --test-shard=SHARD --test-reporter=dot"
}
e2e() {
  sh test/support/peers.sh
  # Each that starts containers has a machine of its own.
  find test/e2e -name '*.test.ts' | sort | xargs "$node" test/support/run-e2e.ts
}
# Hours; may be stopped and goes on where it was. What it found is in test/evidence.
long() {
  sh test/support/peers.sh long
  find test/long -name '*.test.ts' | sort | xargs "$node" --test --test-concurrency=1 --test-reporter=spec
}
# Each alone, on a quiet machine: bench, verify, deploy, gateway, audit, pii, sbom.
bench() {
  sh test/support/peers.sh
  # The scanners are half a gigabyte, which no other bench needs.
  peers=test/bench/peers
  [ "$1" != sbom ] || peers=$peers/sbom
  # They are no part of this project, and a scan of it must not find them.
  trap 'rm -rf "$peers/node_modules"' EXIT
  npm ci --prefix "$peers" --ignore-scripts
  SEALIFT_PORTKEY="$PWD/test/bench/peers/node_modules/@portkey-ai/gateway" "$node" "test/bench/$1.ts"
}
case ${1:-all} in
  unit) keep_compiled; unit ;;
  e2e) keep_compiled; e2e ;;
  long) keep_compiled; long ;;
  bench) bench "${2:-bench}" ;;
  all) sh test/check.sh; keep_compiled; unit; e2e ;;
  *) echo "usage: test/run.sh unit|e2e|long|bench|all" >&2; exit 2 ;;
esac
