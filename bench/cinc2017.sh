#!/usr/bin/env bash
# CinC 2017 at equal budget: waveform alone, spectrogram alone, fused. bench/cinc2017.sh CORPUS OUT [key=value ...]
# CORPUS comes from `ecgprism ingest cinc2017 DATA/cinc2017 --out CORPUS`. About 40 minutes on 2 cores.
set -euo pipefail
corpus=$1 out=$2; shift 2
here=$(cd "$(dirname "$0")/.." && pwd)
train() { ecgprism train "$here/configs/cinc2017.yaml" corpus="$corpus" --out "$out/$1" "${@:2}"; ecgprism evaluate "$out/$1"; }
train wave 'views={wave: {view: {waveform: {scale: record}}, encoder: cnn_bilstm}}' "$@"
train stft 'views={stft: {view: spectrogram, encoder: crnn2d}}' "$@"
train fused "$@"
ecgprism compare "$out/fused" "$out/wave" "$out/stft"
