#!/usr/bin/env bash
# The weights that come with the package, trained again from scratch: bench/weights.sh DATA OUT
# DATA holds cinc2017/ (the CinC 2017 training set with REFERENCE-v3.csv) and ptbxl/ (the part with manifest.csv); about an hour
# and a half on one core.
set -euo pipefail
data=$1 out=$2
mkdir -p "$out"
[ -d "$out/cinc2017" ] || ecgprism ingest cinc2017 "$data/cinc2017" --out "$out/cinc2017"
OMP_NUM_THREADS=1 ecgprism train configs/cinc2017.yaml corpus="$out/cinc2017" --out "$out/rhythm-1lead"
ecgprism evaluate "$out/rhythm-1lead"
for k in 1 2 3 4 5; do # each judges a fifth of what the test part leaves, for the tiny one to learn from
  OMP_NUM_THREADS=1 ecgprism train configs/cinc2017.yaml corpus="$out/cinc2017" "fold=$k/5 of train" train.monitor=loss \
    --out "$out/rhythm-teacher-$k"
done
OMP_NUM_THREADS=1 ecgprism distill "$out"/rhythm-teacher-? --into configs/cinc2017_tiny.yaml corpus="$out/cinc2017" \
  --out "$out/rhythm-1lead-tiny"
ecgprism evaluate "$out/rhythm-1lead-tiny"
python bench/small_model.py "$out/rhythm-1lead" "$out/rhythm-1lead-tiny"
[ -d "$out/ptbxl" ] || ecgprism ingest manifest "$data/ptbxl/manifest.csv" task=superdiagnostic --out "$out/ptbxl"
for size in "" _tiny; do
  OMP_NUM_THREADS=1 ecgprism train "configs/ptbxl$size.yaml" corpus="$out/ptbxl" --out "$out/superdiagnostic-12lead${size/_/-}"
  ecgprism evaluate "$out/superdiagnostic-12lead${size/_/-}"
done
ecgprism compare "$out/superdiagnostic-12lead" "$out/superdiagnostic-12lead-tiny" --out "$out/superdiagnostic"
