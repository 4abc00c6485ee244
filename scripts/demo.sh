#!/usr/bin/env bash
# Shows what Tamias is for: a local cluster of two JobManagers and two TaskManagers runs a job, the leading
# JobManager is killed (SIGKILL), and the job does not notice. Everything stops at the end.
#   scripts/demo.sh               with the embedded "local" high availability: nothing else is needed
#   scripts/demo.sh zookeeper     with three ZooKeeper servers on this machine
# Further arguments go to `tamias drill`, for example --count 10.
set -euo pipefail
home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
tamias=$home/bin/tamias
[ -x "$tamias" ] || { echo "bin/tamias is not built: run make build" >&2; exit 1; }

ha=local
if [ "${1:-}" = zookeeper ]; then
    ha=zookeeper
    shift
    "$home/scripts/install-zookeeper.sh"
fi
exec "$tamias" drill --local --ha "$ha" "$@" kill-leader
