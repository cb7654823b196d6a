#!/bin/sh
# Types, formatting, lint and import rules. Needs ./sealift --version to have run once.
set -eu
cd "$(dirname "$0")/.."
case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; esac
node_modules/.bin/tsc -p .
"node_modules/@biomejs/cli-linux-$arch/biome" ci --colors=off --error-on-warnings .
