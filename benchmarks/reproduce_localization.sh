#!/usr/bin/env bash
# Tables 8 and 9 of docs/reproduction.md: box nets from a classifier, and both tests. Needs vggnet on the PATH.
#
#     benchmarks/reproduce_localization.sh DATA OUT CLASSIFIER
#
# It can be stopped (Ctrl-C, or SIGTERM to the group) and started again: every training continues where it was saved.
# Started twice, both calls train, each another net.
#
# DATA is the unpacked ilsvrc-tiny, CLASSIFIER a run of `benchmarks/reproduce.sh` such as OUT/D-bn-0. Settings, by
# environment variables:
#     EPOCHS=20 BATCH=64 RATE=0.04    of every box net
#     RUNS="pcr-fc pcr-all scr-fc scr-all pcr-jitter"    the box nets to train
#     THREADS=1 WORKERS=1             of each training; empty for the program's own choice
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,14p' "$0"; exit 2; }
data=$1 out=$2 classifier=$3
epochs=${EPOCHS:-20} batch=${BATCH:-64} rate=${RATE:-0.04} threads=${THREADS-1} workers=${WORKERS-1}
read -ra runs <<<"${RUNS:-pcr-fc pcr-all scr-fc scr-all pcr-jitter}"
machine=(${threads:+--threads "$threads"} ${workers:+--workers "$workers"})
mkdir -p "$out"

for run in "${runs[@]}"; do
  exec {lock}>"$out/.$run.busy"
  if flock -n "$lock" && [ ! -f "$out/$run/val.json" ]; then
    case $run in
      pcr-jitter) how=(--boxes pcr --layers all --train-scale 64 96) ;;
      *) how=(--boxes "${run%-*}" --layers "${run#*-}" --train-scale 64 73) ;;
    esac
    vggnet localize train "$data" --init-from "$classifier" "${how[@]}" --epochs "$epochs" --batch "$batch" \
      --learning-rate "$rate" --resume --out "$out/$run" "${machine[@]}" | tee -a "$out/$run.log"
  fi
  exec {lock}>&-
done
for run in "${runs[@]}"; do
  [ -f "$out/$run/val.json" ] || { echo "another call trains $run; the tables follow when it is done" && exit; }
done
vggnet localize evaluate "${runs[@]/#/$out/}" "$data" --test-scale 64 68 73 --no-report --json "$out/table8.json"
for scales in 64 "64 96"; do
  # shellcheck disable=SC2086 # the scales are several words
  vggnet localize evaluate "${runs[@]/#/$out/}" "$data" --classifier "$classifier" --test-scale $scales \
    --json "$out/table9-${scales// /-}.json"
done
