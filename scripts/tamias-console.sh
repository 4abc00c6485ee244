#!/usr/bin/env bash
# Runs one process in the foreground, as containers and service managers want it. Usage:
#   tamias-console.sh (standalonesession|taskexecutor|zookeeper) [args]
# Its pid is in the pid file too, so that the stop commands find it.

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

DAEMON=${1-}
shift $(($# < 1 ? $# : 1))

case $DAEMON in
standalonesession | taskexecutor)
    dynamic_properties "$@"
    load_configuration
    ;;
zookeeper)
    default_configuration
    find_zookeeper || exit 1
    ;;
esac

LOG_FILE=
if [[ $STD_REDIRECT_TO_FILE == true ]]; then
    lock_pid_dir
    read_pids "$DAEMON"
    log_files "$DAEMON" "${#PIDS[@]}"
fi
daemon_command "$DAEMON" "$@"
lock_pid_dir
echo $$ >>"$(pid_file "$DAEMON")" || exit 1

echo "Starting $DAEMON as a console application on host $HOSTNAME."
if [[ -n $LOG_FILE ]]; then
    exec > >(tee -a "$OUT_FILE") 2> >(tee -a "$LOG_FILE" >&2)
fi
exec 200<&-
exec "${COMMAND[@]}"
