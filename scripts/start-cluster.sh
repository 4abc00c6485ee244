#!/usr/bin/env bash
# Starts the cluster: with high availability a JobManager for each line of conf/masters, else one on this
# machine; and a TaskManager for each line of conf/workers. localhost is this machine, others are reached by
# ssh and have the same files in the same place.

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

load_configuration
read_workers # a missing file is noticed before anything runs
CODE=0

if highly_available; then
    read_masters
    echo "Starting HA cluster with ${#MASTERS[@]} masters."
    for i in "${!MASTERS[@]}"; do
        on_host "${MASTERS[i]}" jobmanager.sh start "${MASTERS[i]}" "${WEBUIPORTS[i]}" || CODE=1
    done
else
    echo "Starting cluster."
    "$SCRIPTS_DIR/jobmanager.sh" start || CODE=1
fi

for worker in "${WORKERS[@]}"; do
    args=()
    # A TaskManager elsewhere must announce a name that leads to it.
    if ! is_local "$worker" && [[ $TASKMANAGER_HOST == localhost ]]; then
        args=(-D "taskmanager.host=$worker")
    fi
    on_host "$worker" taskmanager.sh start "${args[@]}" || CODE=1
done
exit $CODE
