#!/usr/bin/env bash
# PTB-XL superdiagnostic: waveform alone, and fused with metadata, same budget. bench/ptbxl.sh CORPUS OUT [key=value ...]
# CORPUS comes from `ecgprism ingest ptbxl DATA/ptbxl --out CORPUS`, or of a part with a manifest:
# `ecgprism ingest manifest DATA/ptbxl/manifest.csv task=superdiagnostic --out CORPUS`.
set -euo pipefail
corpus=$1 out=$2; shift 2
here=$(cd "$(dirname "$0")/.." && pwd)
train() { ecgprism train "$here/configs/$2" corpus="$corpus" --out "$out/$1" "${@:3}"; ecgprism evaluate "$out/$1"; }
train wave ptbxl_wave.yaml "$@"
train fused ptbxl.yaml "$@"
ecgprism compare "$out/fused" "$out/wave"
