#!/usr/bin/env bash
# Runs workloads on a local Tamias cluster and, when FLINK_BENCH names the runner of a real Flink (a
# directory with cluster.py, see README.md), on that too, in turns: one Tamias round, one Flink round,
# ROUNDS times. Prints a table with medians and ratios. Machines are noisy: only pairs of one run compare.
#   bench/run.sh [w2] [w3] [w3ckpt] [w3tcp]        default: all
#   RECORDS_W3=10000000 ROUNDS=1 bench/run.sh w3
#   w2      stateless chain                  one TaskManager with two slots
#   w3      keyed running sum                one TaskManager with two slots
#   w3ckpt  the same, a checkpoint each second; Tamias gets ten times the records, else it would be over
#           before the second checkpoint
#   w3tcp   keyed running sum                two TaskManagers with one slot each: half of the records cross TCP
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-3}
w2=${RECORDS_W2:-100000000}
w3=${RECORDS_W3:-50000000}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
[ $# -gt 0 ] || set -- w2 w3 w3ckpt w3tcp

tamias() { # label, TaskManagers, workload...: one warm-up, one measured run
  local label=$1 tms=$2
  shift 2
  go run ./bench/measure -bin bin -label "$label" -taskmanagers "$tms" -runs 1 -warm 1 -- "$@" >>"$results/tamias.jsonl"
}

flink() { # label, TaskManagers, job arguments...
  [ -n "${FLINK_BENCH:-}" ] || return 0
  local label=$1 tms=$2 memory=4096m
  shift 2
  [ "$tms" = 1 ] || memory=3072m
  python3 "$FLINK_BENCH/cluster.py" --tms "$tms" --tm-mem "$memory" --out "$results/flink.jsonl" -- "$label|1|1" "$@" >/dev/null 2>"$results/flink.log" ||
    { tail -20 "$results/flink.log"; exit 1; }
}

for round in $(seq "$rounds"); do
  for workload in "$@"; do
    echo "round $round of $rounds: $workload" >&2
    case $workload in
    w2) tamias w2 1 w2 -n "$w2"; flink w2 1 job=w2 reuse=true n="$w2" ;;
    w3) tamias w3 1 w3 -n "$w3"; flink w3 1 job=w3 n="$w3" ;;
    w3ckpt) tamias 'w3 + 1 s checkpoints' 1 w3 -n $((10 * w3)) -checkpoint 1s; flink 'w3 + 1 s checkpoints' 1 job=w3 n="$w3" ckpt=1s ;;
    w3tcp) tamias 'w3 over TCP' 2 w3 -n "$w3"; flink 'w3 over TCP' 2 job=w3 n="$w3" ;;
    *) echo "unknown workload $workload: expected w2, w3, w3ckpt or w3tcp" >&2; exit 1 ;;
    esac
  done
done
go run ./bench/report -records "w2=$w2" -records "w3=$w3" "$results"/*.jsonl
if [ -n "${KEEP:-}" ]; then cat "$results"/*.jsonl >"$KEEP"; fi
