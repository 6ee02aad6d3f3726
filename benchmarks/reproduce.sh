#!/usr/bin/env bash
# Train the nets of docs/reproduction.md to the end and write its tables. Needs vggnet on the PATH.
#
#     benchmarks/reproduce.sh DATA OUT          train what is left, then write tables, JSON and a report into OUT
#     benchmarks/reproduce.sh DATA OUT status   say what is done and what is left
#
# It can be stopped (Ctrl-C, or SIGTERM to the group) and started again: every training continues where it was saved.
# Started twice, both calls train, each another net: one per core with THREADS=1, or one per GPU.
#
# DATA is the unpacked ilsvrc-tiny. Settings, by environment variables:
#     WIDTH=0.25 EPOCHS=60 BATCH=64   of every stage; the usual recipe takes both stages' epochs
#     RATE=0.01 RATE_BN=0.02          learning rates of the first stage without and with batch normalisation
#     RATE_JITTER=0.01                of the second stage, S in [73; 146]
#     SEEDS="0"                       of D with batch normalisation and of the usual recipe; the other nets have the first
#     THREADS=1 WORKERS=1             of each training; empty for the program's own choice
#     ONLY="A D"                      train these runs only, and write no tables
# At full width on a GPU: WIDTH=1 BATCH=256 SEEDS="0 1 2" THREADS= WORKERS= benchmarks/reproduce.sh DATA OUT
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,19p' "$0"; exit 2; }
data=$1 out=$2 mode=${3:-train}
width=${WIDTH:-0.25} epochs=${EPOCHS:-60} batch=${BATCH:-64} rate=${RATE:-0.01} rate_bn=${RATE_BN:-0.02}
rate_jitter=${RATE_JITTER:-0.01} seeds=(${SEEDS:-0}) threads=${THREADS-1} workers=${WORKERS-1}
machine=(${threads:+--threads "$threads"} ${workers:+--workers "$workers"})
mkdir -p "$out"

runs=() # NAME|NEEDS|OPTIONS; NEEDS is a run that has to be finished before, or -
first="--crop 64 --width $width --epochs $epochs --batch $batch"
second="--epochs $epochs --batch $batch --learning-rate $rate_jitter --train-scale 73 146"
for seed in "${seeds[@]}"; do
  runs+=("D-bn-$seed|-|--net D --batch-norm $first --learning-rate $rate_bn --seed $seed")
  runs+=("D-bn-jitter-$seed|D-bn-$seed|--net D $second --seed $seed")
  runs+=("D-bn-usual-$seed|-|usual --seed $seed")
done
seed=${seeds[0]}
runs+=("A|-|--net A $first --learning-rate $rate --seed $seed" "A-jitter|A|--net A $second --seed $seed")
runs+=("D|A|--net D $first --learning-rate $rate --seed $seed" "D-jitter|D|--net D $second --seed $seed")

finished() { [ -f "$out/$1/val.json" ] || [ -f "$out/$1.safetensors" ]; }

epochs_of() { # epochs that a run has trained so far
  case $1 in
    *-usual-*) grep -c '^epoch ' "$out/$1.log" 2>/dev/null || true ;;
    *) [ ! -f "$out/$1/metrics.csv" ] || tail -n +2 "$out/$1/metrics.csv" | wc -l ;;
  esac
}

epochs_wanted() { case $1 in usual*) echo $((2 * epochs)) ;; *) echo "$epochs" ;; esac; }

status() {
  local run name needs options
  for run in "${runs[@]}"; do
    IFS='|' read -r name needs options <<<"$run"
    if finished "$name"; then
      echo "done      $name"
    elif [ "$needs" != - ] && ! finished "$needs"; then
      echo "waits     $name (for $needs)"
    else
      echo "left      $name ($(epochs_of "$name" | grep . || echo 0) epochs of $(epochs_wanted "$options"))"
    fi
  done
}

train() { # train NAME NEEDS OPTIONS
  local name=$1 needs=$2 options=$3 init=()
  [ "$needs" = - ] || init=(--init-from "$out/$needs")
  case $options in
    usual*)
      # shellcheck disable=SC2086 # several words
      python "$(dirname "$0")/usual_recipe.py" "$data" --net D --batch-norm --crop 64 --width "$width" --resume \
        --epochs $((2 * epochs)) --batch "$batch" "${machine[@]}" ${options#usual} --out "$out/$name.safetensors" |
        tee -a "$out/$name.log"
      ;;
    *)
      # shellcheck disable=SC2086
      vggnet train "$data" $options "${init[@]}" "${machine[@]}" --resume --out "$out/$name" | tee -a "$out/$name.log"
      ;;
  esac
}

[ "$mode" != status ] || { status; exit; }

left=1
while [ $left -gt 0 ]; do
  left=0 begun=0
  for run in "${runs[@]}"; do
    IFS='|' read -r name needs options <<<"$run"
    [[ " ${ONLY:-$name} " == *" $name "* ]] && ! finished "$name" || continue
    left=$((left + 1))
    [ "$needs" = - ] || finished "$needs" || continue
    exec {lock}>"$out/.$name.busy"
    if flock -n "$lock"; then # another call of this script may be training it
      finished "$name" || { begun=1 && train "$name" "$needs" "$options"; }
    fi
    exec {lock}>&-
  done
  [ $left -eq 0 ] || [ $begun -eq 1 ] || { echo "another call trains what is left:" && status && exit; }
done
[ -z "${ONLY:-}" ] || { status; exit; }

evaluate() { # evaluate NAME ARGUMENTS...
  local name=$1
  shift
  vggnet evaluate "$@" --markdown "$out/$name.md" --json "$out/$name.json"
}
bn=$out/D-bn-$seed bn_jitter=$out/D-bn-jitter-$seed usual=$out/D-bn-usual-$seed.safetensors
fixed=("$out/A" "$out/D" "$bn") jittered=("$out/A-jitter" "$out/D-jitter" "$bn_jitter")
for table in table3 table4; do evaluate $table "${fixed[@]}" "${jittered[@]}" "$data" --protocol $table; done
for table in table5 table6; do evaluate $table "${jittered[@]}" "$data" --protocol $table; done
evaluate usual "$usual" "$bn" "$bn_jitter" "$data" --views center dense crops --test-scale 73 110 146
evaluate scales "$bn" "$bn_jitter" "$data" --views dense --test-scale 64 73 82 96 110 128 146
vggnet report "${fixed[@]}" "${jittered[@]}" --data "$data" --out "$out/report.html"
status
