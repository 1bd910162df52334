#!/usr/bin/env bash
# The weights that come with the package, trained again from scratch: bench/weights.sh DATA OUT
# DATA holds cinc2017/ (the CinC 2017 training set with REFERENCE-v3.csv); about 22 minutes on one core.
set -euo pipefail
data=$1 out=$2
mkdir -p "$out"
[ -d "$out/cinc2017" ] || ecgprism ingest cinc2017 "$data/cinc2017" --out "$out/cinc2017"
OMP_NUM_THREADS=1 ecgprism train configs/cinc2017.yaml corpus="$out/cinc2017" --out "$out/rhythm-1lead"
ecgprism evaluate "$out/rhythm-1lead"
OMP_NUM_THREADS=1 ecgprism train configs/cinc2017_tiny.yaml corpus="$out/cinc2017" --out "$out/rhythm-1lead-tiny"
ecgprism evaluate "$out/rhythm-1lead-tiny"
python bench/small_model.py "$out/rhythm-1lead" "$out/rhythm-1lead-tiny"
