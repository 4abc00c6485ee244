#!/usr/bin/env bash
# Stops what start-cluster.sh started: the TaskManagers, then the JobManagers, the last started first.

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

TAMIAS_WARNED=yes # who stops a cluster has seen the warnings
load_configuration
read_workers
CODE=0

for ((i = ${#WORKERS[@]} - 1; i >= 0; i--)); do
    on_host "${WORKERS[i]}" taskmanager.sh stop || CODE=1
done

if highly_available; then
    read_masters
    for ((i = ${#MASTERS[@]} - 1; i >= 0; i--)); do
        on_host "${MASTERS[i]}" jobmanager.sh stop || CODE=1
    done
else
    "$SCRIPTS_DIR/jobmanager.sh" stop || CODE=1
fi
exit $CODE
