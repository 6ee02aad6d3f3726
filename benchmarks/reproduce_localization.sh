#!/usr/bin/env bash
# Tables 8 and 9 of docs/reproduction.md: a classifier, box nets from it, both tests. Can be stopped and started again.
# Needs vggnet on the PATH.
#
#     benchmarks/reproduce_localization.sh DATA OUT [WIDTH EPOCHS BATCH RATE BOX_RATE]
#
# DATA is the unpacked ilsvrc-tiny. Defaults are what was run on a CPU; on a GPU, at full width:
# benchmarks/reproduce_localization.sh DATA OUT 1 60 256 0.05 0.04
set -euo pipefail
data=$1 out=$2 width=${3:-0.25} epochs=${4:-40} batch=${5:-64} rate=${6:-0.02} box_rate=${7:-0.04}
mkdir -p "$out"

[ -f "$out/A-bn/val.json" ] ||
  vggnet train "$data" --net A --batch-norm --width "$width" --crop 64 --epochs "$epochs" --batch "$batch" \
    --learning-rate "$rate" --train-scale 64 96 --out "$out/A-bn" --resume
box() { # box RUN OPTIONS...
  local run=$out/$1
  shift
  [ -f "$run/val.json" ] ||
    vggnet localize train "$data" --init-from "$out/A-bn" --batch "$batch" --learning-rate "$box_rate" --out "$run" \
      --resume "$@"
}
for boxes in scr pcr; do
  for layers in fc all; do
    box "$boxes-$layers" --boxes "$boxes" --layers "$layers" --train-scale 64 73 --epochs 20
  done
done
box pcr-jitter --boxes pcr --train-scale 64 96 --epochs 22

vggnet localize evaluate "$out"/{scr,pcr}-{fc,all} "$data" --test-scale 64 68 73 --json "$out/table8.json"
for scales in 64 "64 96"; do
  # shellcheck disable=SC2086 # the scales are several words
  vggnet localize evaluate "$out"/pcr-{jitter,all} "$data" --classifier "$out/A-bn" --test-scale $scales \
    --json "$out/table9-${scales// /-}.json"
done
