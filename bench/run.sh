#!/usr/bin/env bash
# Runs workloads on a local Tamias cluster and, when FLINK_BENCH names the runner of a real Flink (a
# directory with run_all.sh, its environment set up), on that too, in turns: one Tamias round, one Flink round,
# ROUNDS times. Prints a table with medians and ratios. Machines are noisy: only pairs of one run compare.
#   bench/run.sh [w2] [w3] [w3ckpt]        default: all three
#   RECORDS_W3=10000000 ROUNDS=1 bench/run.sh w3
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-3}
w2=${RECORDS_W2:-100000000}
w3=${RECORDS_W3:-50000000}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
[ $# -gt 0 ] || set -- w2 w3 w3ckpt

tamias() { # label, runs, warm-ups, workload...
  local label=$1 runs=$2 warm=$3
  shift 3
  go run ./bench/measure -bin bin -label "$label" -runs "$runs" -warm "$warm" -- "$@" >>"$results/tamias.jsonl"
}

flink() { # label, warm-ups, job arguments...
  [ -n "${FLINK_BENCH:-}" ] || return 0
  local label=$1 warm=$2
  shift 2
  OUT="$results/flink.jsonl" python3 "$FLINK_BENCH/cluster.py" --tms 1 --out "$results/flink.jsonl" -- "$label|1|$warm" "$@" >/dev/null 2>"$results/flink.log" ||
    { tail -20 "$results/flink.log"; exit 1; }
}

for round in $(seq "$rounds"); do
  for workload in "$@"; do
    echo "round $round of $rounds: $workload" >&2
    case $workload in
    w2) tamias w2 1 1 w2 -n "$w2"; flink w2 1 job=w2 reuse=true n="$w2" ;;
    w3) tamias w3 1 1 w3 -n "$w3"; flink w3 1 job=w3 n="$w3" ;;
    w3ckpt) tamias 'w3 + 1 s checkpoints' 1 1 w3 -n "$w3" -checkpoint 1s; flink 'w3 + 1 s checkpoints' 1 job=w3 n="$w3" ckpt=1s ;;
    *) echo "unknown workload $workload: expected w2, w3 or w3ckpt" >&2; exit 1 ;;
    esac
  done
done
go run ./bench/report -records "w2=$w2" -records "w3=$w3" "$results"/*.jsonl
if [ -n "${KEEP:-}" ]; then cat "$results"/*.jsonl >"$KEEP"; fi
