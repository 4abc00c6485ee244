#!/usr/bin/env bash
# Starts or stops a TaskManager on this machine. Started again, it adds one more.
USAGE="Usage: taskmanager.sh ((start|start-foreground) [-D key=value ...])|stop|stop-all"

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

ACTION=${1-}
shift $(($# < 1 ? $# : 1))

case $ACTION in
start-foreground) exec "$SCRIPTS_DIR/tamias-console.sh" taskexecutor "$@" ;;
start) exec "$SCRIPTS_DIR/tamias-daemon.sh" start taskexecutor "$@" ;;
stop | stop-all) exec "$SCRIPTS_DIR/tamias-daemon.sh" "$ACTION" taskexecutor ;;
esac
echo "$USAGE"
exit 1
