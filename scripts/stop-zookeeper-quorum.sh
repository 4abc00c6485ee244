#!/usr/bin/env bash
# Stops the servers that start-zookeeper-quorum.sh started.

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

TAMIAS_WARNED=yes # who stops it has seen the warnings
default_configuration
read_zookeeper_servers
CODE=0
for ((i = ${#ZK_IDS[@]} - 1; i >= 0; i--)); do
    on_host "${ZK_HOSTS[i]}" zookeeper.sh stop || CODE=1
done
exit $CODE
