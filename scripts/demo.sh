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

if [ "${1:-}" != zookeeper ]; then
    exec "$tamias" drill --local --ha local "$@" kill-leader
fi
shift
"$home/scripts/install-zookeeper.sh"
work=$(mktemp -d)
export TAMIAS_CONF_DIR=$work/conf TAMIAS_LOG_DIR=$work/log TAMIAS_PID_DIR=$work
mkdir -p "$TAMIAS_CONF_DIR" "$TAMIAS_LOG_DIR"
: >"$TAMIAS_CONF_DIR/config.yaml" # the scripts want one
cat >"$TAMIAS_CONF_DIR/zoo.cfg" <<CFG
tickTime=500
initLimit=20
syncLimit=10
dataDir=$work/data
clientPort=23181
clientPortAddress=127.0.0.1
admin.enableServer=false
server.1=127.0.0.1:23281:23381
server.2=127.0.0.1:23282:23382
server.3=127.0.0.1:23283:23383
CFG
trap '"$home/scripts/stop-zookeeper-quorum.sh" || true; rm -rf "$work"' EXIT
"$home/scripts/start-zookeeper-quorum.sh"
"$tamias" drill --local --ha zookeeper --quorum 127.0.0.1:23181,127.0.0.1:23182,127.0.0.1:23183 "$@" kill-leader
