#!/usr/bin/env bash
# Starts or stops the server N (its peer id) of conf/zoo.cfg on this machine. conf/zoo.cfg explains how the
# server's own configuration is made from it.
USAGE="Usage: zookeeper.sh ((start|start-foreground) PEERID)|stop|stop-all"

# shellcheck source-path=SCRIPTDIR source=tamias-config.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tamias-config.sh"

ACTION=${1-}
PEER=${2-}

# property KEY prints the value of KEY in zoo.cfg.
property() {
    sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\([^[:space:]]*\).*$/\1/p" "$ZK_CONF" | tail -n 1
}

# own_configuration writes the zoo.cfg of server PEER into its data folder and sets OWN_CONF to its name.
own_configuration() {
    local i self=-1 host before=0 same=0 data port address
    read_zookeeper_servers
    for i in "${!ZK_IDS[@]}"; do
        [[ ${ZK_IDS[i]} != "$PEER" ]] || self=$i
    done
    if ((self < 0)); then
        echo "[ERROR] '$ZK_CONF' has no valid line server.$PEER=HOST:PORT:PORT." >&2
        exit 1
    fi
    host=${ZK_HOSTS[self]}
    for i in "${!ZK_IDS[@]}"; do
        [[ ${ZK_HOSTS[i]} == "$host" ]] || continue
        same=$((same + 1))
        ((i >= self)) || before=$((before + 1))
    done

    data=$(property dataDir)
    if [[ -z $data ]]; then
        echo "[ERROR] '$ZK_CONF' has no dataDir." >&2
        exit 1
    fi
    [[ $data == /* ]] || data=$TAMIAS_HOME/$data
    ((same == 1)) || data=$data/$PEER

    address=$(property clientPortAddress)
    port=${ZK_CLIENTS[self]}
    if [[ $port == *:* ]]; then
        address=${port%:*}
        port=${port##*:}
    elif [[ -z $port ]]; then
        port=$(property clientPort)
        port=$((${port:-2181} + before))
    fi

    mkdir -p "$data" || exit 1
    OWN_CONF=$data/zoo.cfg
    {
        echo "# Made by zookeeper.sh from $ZK_CONF at each start."
        grep -Ev '^[[:space:]]*(#|$|server|(dataDir|clientPort|clientPortAddress)[[:space:]]*=)' "$ZK_CONF"
        for i in "${!ZK_IDS[@]}"; do
            echo "server.${ZK_IDS[i]}=${ZK_SERVERS[i]}"
        done
        echo "dataDir=$data"
        echo "clientPort=$port"
        [[ -z $address ]] || echo "clientPortAddress=$address"
    } >"$OWN_CONF" || exit 1
    echo "$PEER" >"$data/myid" || exit 1
}

case $ACTION in
start | start-foreground)
    if [[ -z $PEER ]]; then
        echo "[ERROR] Missing peer id argument. $USAGE" >&2
        exit 1
    fi
    own_configuration
    ;;
stop | stop-all) exec "$SCRIPTS_DIR/tamias-daemon.sh" "$ACTION" zookeeper ;;
*)
    echo "$USAGE"
    exit 1
    ;;
esac

if [[ $ACTION == start-foreground ]]; then
    exec "$SCRIPTS_DIR/tamias-console.sh" zookeeper "$OWN_CONF"
fi
exec "$SCRIPTS_DIR/tamias-daemon.sh" start zookeeper "$OWN_CONF"
