#!/usr/bin/env bash
# Installs what zookeeper.sh needs on Debian and its relatives: ZooKeeper's jars and a Java runtime. It starts
# nothing, and does nothing where both are there.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

if (find_zookeeper) 2>/dev/null; then
    echo "ZooKeeper and Java are there already."
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "[ERROR] No apt-get here. Install Java and ZooKeeper by other means and set TAMIAS_ZOOKEEPER_CLASSPATH to ZooKeeper's jars." >&2
    exit 1
fi

APT=(env DEBIAN_FRONTEND=noninteractive apt-get)
if ((EUID != 0)); then
    APT=(sudo "${APT[@]}")
fi
PACKAGES=(libzookeeper-java)
command -v "${JAVA_HOME:+$JAVA_HOME/bin/}java" >/dev/null 2>&1 || PACKAGES+=(default-jre-headless)
"${APT[@]}" update
"${APT[@]}" install -y --no-install-recommends "${PACKAGES[@]}"
find_zookeeper
