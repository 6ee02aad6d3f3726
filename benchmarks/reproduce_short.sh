#!/usr/bin/env bash
# Everything behind docs/reproduction.md and docs/test-protocol.md, one training after the other; can be stopped and
# started again. Needs vggnet on the PATH.
#
#     benchmarks/reproduce_short.sh DATA OUT [WIDTH EPOCHS BATCH SIGMA]
#
# DATA is the unpacked ilsvrc-tiny. Defaults are what was run on a CPU: width 0.25, 10 epochs, batch 64, and for the
# Gaussian nets sigma 0.02 (at a quarter of the width what 0.01 is at the whole).
# On a GPU: benchmarks/reproduce_short.sh DATA OUT 1 60 256 0.01
set -euo pipefail
data=$1 out=$2 width=${3:-0.25} epochs=${4:-10} batch=${5:-64} sigma=${6:-0.02}
common=(--crop 64 --width "$width" --epochs "$epochs" --batch "$batch")
mkdir -p "$out"

rate=0.01
one() { # one RUN OPTIONS...
  local run=$out/$1
  shift
  [ -f "$run/val.json" ] ||
    vggnet train "$data" --out "$run" --resume "${common[@]}" --learning-rate "$rate" "$@" | tee "$run.log"
}

for net in A A-LRN B C D E; do one "$net-glorot" --net "$net"; done
one D-bn --net D --batch-norm
rate=0.005 one 5x5-glorot --net 5x5 # at 0.01 it dies
for net in D E; do
  for shallow in A B; do one "$net-from-$shallow" --net "$net" --init-from "$out/$shallow-glorot"; done
done
for net in A D E; do one "$net-gauss" --net "$net" --init gaussian --sigma "$sigma"; done
for net in D E; do one "$net-jitter" --net "$net" --init-from "$out/$net-glorot" --train-scale 73 146; done
[ -f "$out/D-usual.safetensors" ] || python "$(dirname "$0")/usual_recipe.py" "$data" --net D \
  --out "$out/D-usual.safetensors" --width "$width" --epochs "$epochs" --batch "$batch" | tee "$out/D-usual.log"

evaluate() { vggnet evaluate "$@" --markdown "$out/$name.md" --json "$out/$name.json"; }
fixed=("$out"/{A,A-LRN,5x5,B,C,D,E}-glorot)
jittered=("$out"/{D,E}-jitter)
name=table3 evaluate "${fixed[@]}" "${jittered[@]}" "$data" --protocol table3
name=table4 evaluate "${fixed[@]}" "${jittered[@]}" "$data" --protocol table4
name=table5 evaluate "${jittered[@]}" "$data" --protocol table5
name=table6 evaluate "${jittered[@]}" "$data" --protocol table6
name=scales evaluate "$out/D-glorot" "$out/D-jitter" "$data" --views dense --test-scale 64 73 82 96 110 128 146
name=usual evaluate "$out/D-usual.safetensors" "$out/D-glorot" "$out/D-jitter" "$data" \
  --views center dense crops --test-scale 73
name=kernels evaluate "$out/5x5-glorot" "$out/B-glorot" "$data" --views center dense --test-scale 73
