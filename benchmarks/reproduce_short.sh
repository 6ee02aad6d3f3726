#!/usr/bin/env bash
# The short runs of docs/reproduction.md: how nets start from random weights and from a shallower net, and the control
# with 5x5 filters. Needs vggnet on the PATH.
#
#     benchmarks/reproduce_short.sh DATA OUT
#
# It can be stopped (Ctrl-C, or SIGTERM to the group) and started again: every training continues where it was saved.
# Started twice, both calls train, each another net.
#
# DATA is the unpacked ilsvrc-tiny. Settings, by environment variables:
#     WIDTH=0.25 EPOCHS=10 BATCH=64   of every net; D and E with Gaussian weights have 4 epochs
#     SIGMA=0.02                      of Gaussian weights: at a quarter of the width what 0.01 is at the whole
#     THREADS=1 WORKERS=1             of each training; empty for the program's own choice
# At full width on a GPU: WIDTH=1 EPOCHS=60 BATCH=256 SIGMA=0.01 THREADS= WORKERS= before the command
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,16p' "$0"; exit 2; }
data=$1 out=$2
width=${WIDTH:-0.25} epochs=${EPOCHS:-10} batch=${BATCH:-64} sigma=${SIGMA:-0.02}
threads=${THREADS-1} workers=${WORKERS-1}
machine=(${threads:+--threads "$threads"} ${workers:+--workers "$workers"})
mkdir -p "$out"

runs=() # NAME|NEEDS|OPTIONS; NEEDS is a run that has to be finished before, or -
for net in A B D E; do runs+=("$net|-|--net $net --epochs $epochs --learning-rate 0.01"); done
for net in D E; do
  for shallow in A B; do
    runs+=("$net-from-$shallow|$shallow|--net $net --epochs $epochs --learning-rate 0.01 --init-from $out/$shallow")
  done
done
for net in A D E; do
  least=$epochs
  [ "$net" = A ] || [ "$epochs" -lt 4 ] || least=4
  runs+=("$net-gauss|-|--net $net --epochs $least --learning-rate 0.01 --init gaussian --sigma $sigma")
done
runs+=("5x5|-|--net 5x5 --epochs $epochs --learning-rate 0.005") # at 0.01 it does not learn

left=1
while [ $left -gt 0 ]; do
  left=0 begun=0
  for run in "${runs[@]}"; do
    IFS='|' read -r name needs options <<<"$run"
    [ ! -f "$out/$name/val.json" ] || continue
    left=$((left + 1))
    [ "$needs" = - ] || [ -f "$out/$needs/val.json" ] || continue
    exec {lock}>"$out/.$name.busy"
    if flock -n "$lock"; then # another call of this script may be training it
      begun=1
      # shellcheck disable=SC2086 # several words
      vggnet train "$data" $options --crop 64 --width "$width" --batch "$batch" "${machine[@]}" --resume \
        --out "$out/$name" | tee -a "$out/$name.log"
    fi
    exec {lock}>&-
  done
  [ $left -eq 0 ] || [ $begun -eq 1 ] || { echo "another call trains what is left and writes the tables" && exit; }
done

fixed=("$out"/{A,B,D,E,D-from-A,D-from-B,E-from-A,E-from-B,A-gauss,D-gauss,E-gauss,5x5})
vggnet evaluate "${fixed[@]}" "$data" --protocol table3 --markdown "$out/table3.md" --json "$out/table3.json"
vggnet evaluate "$out/5x5" "$out/B" "$data" --views center dense --test-scale 73 --json "$out/filters.json"
