#!/usr/bin/env bash
# Starts or stops a JobManager on this machine. HOST becomes jobmanager.rpc.address, WEBUIPORT rest.port.
USAGE="Usage: jobmanager.sh ((start|start-foreground) [HOST [WEBUIPORT]] [-D key=value ...])|stop|stop-all"

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

ACTION=${1-}
shift $(($# < 1 ? $# : 1))

ARGS=()
case $ACTION in
start | start-foreground)
    if (($# > 0)) && [[ $1 != -* ]]; then
        ARGS+=(-D "jobmanager.rpc.address=$1")
        shift
        if (($# > 0)) && [[ $1 != -* ]]; then
            ARGS+=(-D "rest.port=$1")
            shift
        fi
    fi
    ARGS+=("$@")
    ;;
stop | stop-all) ;;
*)
    echo "$USAGE"
    exit 1
    ;;
esac

if [[ $ACTION == start-foreground ]]; then
    exec "$SCRIPTS_DIR/tamias-console.sh" standalonesession "${ARGS[@]}"
fi
exec "$SCRIPTS_DIR/tamias-daemon.sh" "$ACTION" standalonesession "${ARGS[@]}"
