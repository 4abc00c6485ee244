#!/usr/bin/env bash
# Starts and stops one process in the background and keeps its pid file. Usage:
#   tamias-daemon.sh (start|stop|stop-all) (standalonesession|taskexecutor|zookeeper) [args]
# stop ends the newest process in the pid file, stop-all ends them all.

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

ACTION=${1-}
DAEMON=${2-}
shift $(($# < 2 ? $# : 2))

# await_start PID fails when the process ends within TAMIAS_START_TIMEOUT seconds: what is wrong with a setting, a port
# or a folder shows by then. It does not wait longer than it takes the process to say that it has started.
await_start() {
    local looks=$((TAMIAS_START_TIMEOUT * 20))
    [[ $DAEMON != zookeeper ]] || looks=1 # Java is slower, and says nothing of the kind
    while ((looks-- > 0)); do
        sleep 0.05
        kill -0 "$1" 2>/dev/null || return 1
        ! grep -q 'manager started {' "$LOG_FILE" || return 0
    done
}

start_daemon() {
    local pid alive=0 launcher=() count
    lock_pid_dir
    read_pids "$DAEMON"
    count=${#PIDS[@]}
    for pid in "${PIDS[@]}"; do
        ! is_running "$DAEMON" "$pid" || alive=$((alive + 1))
    done
    if ((alive > 0)); then
        echo "[INFO] $alive instance(s) of $DAEMON are already running on $HOSTNAME."
    fi
    log_files "$DAEMON" "$count"
    daemon_command "$DAEMON" "$@"
    # A session of its own, so that signals of this terminal do not reach it. The lock is not passed on.
    ! command -v setsid >/dev/null 2>&1 || launcher=(setsid)
    echo "Starting $DAEMON daemon on host $HOSTNAME."
    "${launcher[@]}" nohup "${COMMAND[@]}" >"$OUT_FILE" 2>"$LOG_FILE" </dev/null 200<&- &
    pid=$!
    disown "$pid"
    if ! await_start "$pid"; then
        echo "Error starting $DAEMON daemon."
        grep -v 'configuration property loaded' "$LOG_FILE" | tail -n 5 >&2
        exit 1
    fi
    echo "$pid" >>"$(pid_file "$DAEMON")" || exit 1
}

# end_process PID ends a live process: SIGTERM, and SIGKILL when it is still there after the timeout.
end_process() {
    local waited=0
    echo "Stopping $DAEMON daemon (pid: $1) on host $HOSTNAME."
    kill "$1" 2>/dev/null
    while is_running "$DAEMON" "$1"; do
        if ((waited == TAMIAS_STOP_TIMEOUT * 20)); then
            echo "Daemon $DAEMON didn't stop within $TAMIAS_STOP_TIMEOUT seconds. Killing it."
            kill -9 "$1" 2>/dev/null
        elif ((waited > TAMIAS_STOP_TIMEOUT * 20 + 100)); then
            echo "Daemon $DAEMON (pid: $1) cannot be killed." >&2
            return 1
        fi
        waited=$((waited + 1))
        sleep 0.05
    done
}

stop_daemon() {
    local pid file
    file=$(pid_file "$DAEMON")
    lock_pid_dir
    read_pids "$DAEMON"
    if ((${#PIDS[@]} == 0)); then
        echo "No $DAEMON daemon to stop on host $HOSTNAME."
        rm -f "$file"
        return
    fi
    pid=${PIDS[-1]}
    unset 'PIDS[-1]'
    if ((${#PIDS[@]} == 0)); then
        rm -f "$file"
    else
        printf '%s\n' "${PIDS[@]}" >"$file"
    fi
    if is_running "$DAEMON" "$pid"; then
        end_process "$pid"
    else
        echo "No $DAEMON daemon (pid: $pid) is running anymore on $HOSTNAME."
    fi
}

stop_all() {
    local pid code=0
    lock_pid_dir
    read_pids "$DAEMON"
    rm -f "$(pid_file "$DAEMON")"
    for pid in "${PIDS[@]}"; do
        if is_running "$DAEMON" "$pid"; then
            end_process "$pid" || code=1
        else
            echo "Skipping $DAEMON daemon (pid: $pid), because it is not running anymore on $HOSTNAME."
        fi
    done
    return $code
}

[[ $ACTION == start ]] || TAMIAS_WARNED=yes # who stops a process has seen the warnings
case $DAEMON in
standalonesession | taskexecutor)
    dynamic_properties "$@"
    load_configuration
    ;;
zookeeper) default_configuration ;;
*) daemon_command "$DAEMON" ;; # tells the usage
esac

case $ACTION in
start)
    [[ $DAEMON != zookeeper ]] || find_zookeeper || exit 1
    start_daemon "$@"
    ;;
stop) stop_daemon ;;
stop-all) stop_all ;;
*)
    echo "Unexpected argument '$ACTION'. Usage: $(basename "$0") (start|stop|stop-all) (standalonesession|taskexecutor|zookeeper) [args]" >&2
    exit 1
    ;;
esac
