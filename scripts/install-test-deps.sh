#!/usr/bin/env bash
# Installs what the tests need beside Go, on Debian and its relatives: ZooKeeper's jars and a Java runtime,
# and shellcheck. Does nothing where they are there.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
"$here/install-zookeeper.sh"
if ! command -v shellcheck >/dev/null; then
    apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    ((EUID == 0)) || apt=(sudo "${apt[@]}")
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends shellcheck
fi
