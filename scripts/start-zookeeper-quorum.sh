#!/usr/bin/env bash
# Starts every server.N of conf/zoo.cfg: localhost on this machine, others by ssh.

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

default_configuration
read_zookeeper_servers
for line in "${ZK_WRONG[@]}"; do
    echo "[WARN] Parse error. Skipping config entry '$line'." >&2
done
CODE=0
for i in "${!ZK_IDS[@]}"; do
    on_host "${ZK_HOSTS[i]}" zookeeper.sh start "${ZK_IDS[i]}" || CODE=1
done
exit $CODE
