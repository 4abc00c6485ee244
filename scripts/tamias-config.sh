#!/usr/bin/env bash
# Sourced by the other scripts: folders, the settings they need, conf/masters and conf/workers, and what
# they share. TAMIAS_* variables win over the configuration file; FLINK_* ones are read where there is no
# TAMIAS_* variable of that name.
# shellcheck disable=SC2034 # variables are for the scripts that source this file

SCRIPTS_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
TAMIAS_HOME=$(dirname "$SCRIPTS_DIR")
TAMIAS_CONF_DIR=${TAMIAS_CONF_DIR:-${FLINK_CONF_DIR:-$TAMIAS_HOME/conf}}
TAMIAS_BIN_DIR=${TAMIAS_BIN_DIR:-$TAMIAS_HOME/bin}
TAMIAS_IDENT_STRING=${TAMIAS_IDENT_STRING:-${FLINK_IDENT_STRING:-${USER:-$(id -un)}}}
HOSTNAME=$(hostname)
# Seconds in which a process that ends counts as not started, and those that it has between SIGTERM and SIGKILL.
TAMIAS_START_TIMEOUT=${TAMIAS_START_TIMEOUT:-1}
TAMIAS_STOP_TIMEOUT=${TAMIAS_STOP_TIMEOUT:-10}
export TAMIAS_HOME TAMIAS_CONF_DIR TAMIAS_BIN_DIR TAMIAS_IDENT_STRING TAMIAS_START_TIMEOUT TAMIAS_STOP_TIMEOUT

# -D properties of a script's arguments, filled by dynamic_properties.
DYNAMIC_PROPERTIES=()

# load_configuration reads what the scripts need from the configuration, with DYNAMIC_PROPERTIES on top. The
# file is parsed by the program that will run on it, so a mistake stops a script here, before it has started
# anything. Warnings are shown once, not again by each script that this one calls.
load_configuration() {
    local args=() keys=(env.log.dir env.log.max env.pid.dir env.ssh.opts env.stdout-err.redirect-to-file
        env.java.home zookeeper.heap.mb high-availability.type taskmanager.host) key text values
    for key in "${keys[@]}"; do
        args+=(--print-config "$key")
    done
    [[ -z ${TAMIAS_WARNED-} ]] || args+=(--no-warnings)
    export TAMIAS_WARNED=yes
    if [[ ! -x $TAMIAS_BIN_DIR/jobmanager ]]; then
        echo "[ERROR] $TAMIAS_BIN_DIR/jobmanager is missing. Run 'make build' first, or set TAMIAS_BIN_DIR." >&2
        exit 1
    fi
    if ! text=$("$TAMIAS_BIN_DIR/jobmanager" --configDir "$TAMIAS_CONF_DIR" "${DYNAMIC_PROPERTIES[@]}" "${args[@]}"); then
        echo "[ERROR] Could not read the configuration in $TAMIAS_CONF_DIR." >&2
        exit 1
    fi
    mapfile -t values <<<"$text"
    use_settings "${values[@]}"
}

# default_configuration is load_configuration for scripts that can do without our programs.
default_configuration() {
    if [[ -x $TAMIAS_BIN_DIR/jobmanager ]]; then
        load_configuration
    else
        use_settings "" 10 /tmp "" false "" 0 NONE localhost
    fi
}

use_settings() {
    TAMIAS_LOG_DIR=${TAMIAS_LOG_DIR:-${FLINK_LOG_DIR:-${1:-$TAMIAS_HOME/log}}}
    MAX_LOG_FILE_NUMBER=${MAX_LOG_FILE_NUMBER:-$2}
    TAMIAS_PID_DIR=${TAMIAS_PID_DIR:-${FLINK_PID_DIR:-$3}}
    TAMIAS_SSH_OPTS=${TAMIAS_SSH_OPTS:-${FLINK_SSH_OPTS:-$4}}
    STD_REDIRECT_TO_FILE=${STD_REDIRECT_TO_FILE:-$5}
    JAVA_HOME=${JAVA_HOME:-$6}
    ZK_HEAP=${ZK_HEAP:-$7}
    HIGH_AVAILABILITY=${8,,}
    TASKMANAGER_HOST=$9
    export TAMIAS_LOG_DIR MAX_LOG_FILE_NUMBER TAMIAS_PID_DIR TAMIAS_SSH_OPTS STD_REDIRECT_TO_FILE JAVA_HOME ZK_HEAP
}

# dynamic_properties ARGS puts the -D properties among ARGS into the array DYNAMIC_PROPERTIES.
dynamic_properties() {
    DYNAMIC_PROPERTIES=()
    while (($# > 0)); do
        case $1 in
        -D)
            DYNAMIC_PROPERTIES+=(-D "${2-}")
            shift
            ;;
        -D*) DYNAMIC_PROPERTIES+=("$1") ;;
        esac
        shift || true
    done
}

# highly_available succeeds when leaders are elected, so that there is one JobManager for each master.
highly_available() {
    case $HIGH_AVAILABILITY in
    zookeeper | local | kubernetes) return 0 ;;
    esac
    return 1
}

# read_hosts FILE prints the entries of conf/masters or conf/workers: no comments, no blanks, and of a
# topology path (/rack/host) the last part.
read_hosts() {
    local name line
    name=$(basename "$1")
    if [[ ! -f $1 ]]; then
        echo "No $name file. Please specify $name in 'conf/$name'." >&2
        return 1
    fi
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line%%#*}
        line=${line//[[:space:]]/}
        line=${line##*/}
        [[ -z $line ]] || echo "$line"
    done <"$1"
}

# read_masters fills the arrays MASTERS and WEBUIPORTS from conf/masters. Port 0 is any free one.
read_masters() {
    local lines line
    MASTERS=()
    WEBUIPORTS=()
    lines=$(read_hosts "$TAMIAS_CONF_DIR/masters") || exit 1
    for line in $lines; do
        MASTERS+=("${line%%:*}")
        if [[ $line == *:* ]]; then
            WEBUIPORTS+=("${line#*:}")
        else
            WEBUIPORTS+=(0)
        fi
    done
}

# read_workers fills the array WORKERS from conf/workers.
read_workers() {
    local lines
    lines=$(read_hosts "$TAMIAS_CONF_DIR/workers") || exit 1
    mapfile -t WORKERS < <([[ -z $lines ]] || echo "$lines")
}

is_local() {
    [[ $1 == localhost || $1 == 127.0.0.1 ]]
}

# on_host HOST SCRIPT ARGS runs one of these scripts, here or by ssh on a machine that has them in the same
# place.
on_host() {
    local host=$1 script=$2 command
    shift 2
    if is_local "$host"; then
        "$SCRIPTS_DIR/$script" "$@"
        return
    fi
    command=$(printf '%q ' env "TAMIAS_CONF_DIR=$TAMIAS_CONF_DIR" /bin/bash -l "$SCRIPTS_DIR/$script" "$@")
    # shellcheck disable=SC2086,SC2029 # options are words of their own; the command is meant to be expanded here
    ssh -n $TAMIAS_SSH_OPTS "$host" -- "$command"
}

# lock_pid_dir keeps other scripts from changing pid files until this process closes file descriptor 200.
lock_pid_dir() {
    mkdir -p "$TAMIAS_PID_DIR" || exit 1
    if command -v flock >/dev/null 2>&1; then
        exec 200<"$TAMIAS_PID_DIR"
        flock 200
    fi
}

# pid_file DAEMON prints the name of its pid file: one pid a line, the newest last.
pid_file() {
    echo "$TAMIAS_PID_DIR/tamias-$TAMIAS_IDENT_STRING-$1.pid"
}

# is_running DAEMON PID succeeds when PID is a live process of that daemon: not a zombie, and not another
# program that was given the number of a dead one.
is_running() {
    local mark
    [[ $2 =~ ^[0-9]+$ ]] && kill -0 "$2" 2>/dev/null || return 1
    [[ -r /proc/$2/status ]] || return 0
    if grep -q '^State:[[:space:]]*[ZX]' "/proc/$2/status" 2>/dev/null; then
        return 1
    fi
    case $1 in
    standalonesession) mark='jobmanager --configDir ' ;;
    taskexecutor) mark='taskmanager --configDir ' ;;
    zookeeper) mark=QuorumPeerMain ;;
    esac
    tr '\0' ' ' 2>/dev/null <"/proc/$2/cmdline" | grep -q -- "$mark"
}

# read_pids DAEMON fills the array PIDS from its pid file.
read_pids() {
    local file
    file=$(pid_file "$1")
    PIDS=()
    [[ ! -f $file ]] || mapfile -t PIDS <"$file"
}

# log_files DAEMON N sets LOG_FILE and OUT_FILE for instance N on this machine, and moves the files of earlier
# runs out of their way: the newest to .1, and no more than MAX_LOG_FILE_NUMBER of them.
log_files() {
    local prefix=$TAMIAS_LOG_DIR/tamias-$TAMIAS_IDENT_STRING-$1-$2-$HOSTNAME file i
    mkdir -p "$TAMIAS_LOG_DIR" || exit 1
    LOG_FILE=$prefix.log
    OUT_FILE=$prefix.out
    for file in "$LOG_FILE" "$OUT_FILE"; do
        for ((i = MAX_LOG_FILE_NUMBER; i > 1; i--)); do
            [[ ! -f $file.$((i - 1)) ]] || mv "$file.$((i - 1))" "$file.$i"
        done
        if [[ -f $file ]] && ((MAX_LOG_FILE_NUMBER > 0)); then
            mv "$file" "$file.1"
        fi
        : >"$file" || exit 1
    done
}

# daemon_command DAEMON ARGS puts the command line of a daemon into the array COMMAND.
daemon_command() {
    local daemon=$1
    shift
    case $daemon in
    standalonesession)
        COMMAND=("$TAMIAS_BIN_DIR/jobmanager" --configDir "$TAMIAS_CONF_DIR" -D "env.log.dir=$TAMIAS_LOG_DIR")
        ;;
    taskexecutor)
        COMMAND=("$TAMIAS_BIN_DIR/taskmanager" --configDir "$TAMIAS_CONF_DIR" -D "env.log.dir=$TAMIAS_LOG_DIR")
        ;;
    zookeeper)
        # JAVA and ZOOKEEPER_CLASSPATH come from find_zookeeper.
        COMMAND=("$JAVA" -Dzookeeper.jmx.log4j.disable=true
            -Dorg.slf4j.simpleLogger.showDateTime=true "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS")
        ((ZK_HEAP == 0)) || COMMAND+=("-Xmx${ZK_HEAP}m" "-Xms${ZK_HEAP}m")
        COMMAND+=(-cp "$ZOOKEEPER_CLASSPATH" org.apache.zookeeper.server.quorum.QuorumPeerMain)
        ;;
    *)
        echo "Unknown daemon '$daemon'. Usage: $(basename "$0") (start|stop|stop-all) (standalonesession|taskexecutor|zookeeper) [args]" >&2
        exit 1
        ;;
    esac
    COMMAND+=("$@")
}

# find_zookeeper sets JAVA and ZOOKEEPER_CLASSPATH.
find_zookeeper() {
    JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java
    if ! command -v "$JAVA" >/dev/null 2>&1; then
        echo "[ERROR] No Java found to run ZooKeeper. Run $SCRIPTS_DIR/install-zookeeper.sh, or set JAVA_HOME." >&2
        return 1
    fi
    ZOOKEEPER_CLASSPATH=${TAMIAS_ZOOKEEPER_CLASSPATH:-}
    if [[ -z $ZOOKEEPER_CLASSPATH ]]; then
        # Debian's jar names the other jars that it needs, apart from one that writes the log (to stderr).
        ZOOKEEPER_CLASSPATH=/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar
        if [[ ! -f ${ZOOKEEPER_CLASSPATH%%:*} ]]; then
            echo "[ERROR] No ZooKeeper found in /usr/share/java. Run $SCRIPTS_DIR/install-zookeeper.sh, or set TAMIAS_ZOOKEEPER_CLASSPATH." >&2
            return 1
        fi
    fi
}

# read_zookeeper_servers fills the arrays ZK_IDS, ZK_HOSTS, ZK_SERVERS (HOST:PORT:PORT) and ZK_CLIENTS
# ([ADDRESS:]PORT, or nothing) from the server.N lines of conf/zoo.cfg, and ZK_WRONG from lines that it does
# not understand.
read_zookeeper_servers() {
    local line pattern='^[[:space:]]*server\.([0-9]+)[[:space:]]*=[[:space:]]*(([A-Za-z0-9._-]+)[A-Za-z0-9:]*)(;(([A-Za-z0-9._-]+:)?[0-9]+))?[[:space:]]*(#.*)?$'
    ZK_CONF=$TAMIAS_CONF_DIR/zoo.cfg
    ZK_IDS=()
    ZK_HOSTS=()
    ZK_SERVERS=()
    ZK_CLIENTS=()
    ZK_WRONG=()
    if [[ ! -f $ZK_CONF ]]; then
        echo "[ERROR] No ZooKeeper configuration file found in '$ZK_CONF'." >&2
        exit 1
    fi
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line =~ $pattern ]]; then
            ZK_IDS+=("${BASH_REMATCH[1]}")
            ZK_SERVERS+=("${BASH_REMATCH[2]}")
            ZK_HOSTS+=("${BASH_REMATCH[3]}")
            ZK_CLIENTS+=("${BASH_REMATCH[5]}")
        elif [[ $line =~ ^[[:space:]]*server ]]; then
            ZK_WRONG+=("$line")
        fi
    done <"$ZK_CONF"
}
