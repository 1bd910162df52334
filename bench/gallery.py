"""Draw docs/simulator.md: one picture per condition of the simulator. python bench/gallery.py"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ecgprism.presentation.paper import plot_sheet
from ecgprism.presentation.style import save
from ecgprism.simulator.acquisition import Acquisition
from ecgprism.simulator.conditions import CONDITIONS
from ecgprism.simulator.simulation import simulate

DOCS = Path(__file__).parents[1] / "docs"
PATIENT, SEVERITY, SNR_DB = 8, 0.6, 24.0
HEAD = f"""# The simulator

`ecgprism.simulator` plays 12-lead ECGs whose truth is known: who the patient is, what the heart has, every beat, every
wave border, every noise. A moving dipole (sums of Gaussians over the beat; atria, ventricles and repolarisation apart;
McSharry et al. 2003, Sameni et al. 2007) is seen through a torso (Dower et al. 1980, varied by patient) by nine
electrodes, where noise enters too; III, aVR, aVL and aVF are derived, so Einthoven's and Goldberger's relations hold.

    ecgprism simulate --n 2000 --out sim --task rhythm            # WFDB, annotations, truth as tables
    ecgprism simulate --n 20 --out lbbb --condition lbbb=0.8      # a condition and its severity, 0 to 1
    ecgprism ingest simulated n=2000 --out corpora/sim            # straight into a corpus

```python
from ecgprism.simulator.acquisition import Acquisition
from ecgprism.simulator.simulation import simulate

simulated = simulate(0, rate_hz=500, conditions={{"lbbb": 0.8}}, acquisition=Acquisition(snr_db=12, swap=("LA/RA",)))
print(simulated.recording.signal.shape, simulated.traits.labels)
print(simulated.truth.beats()[["r_s", "symbol", "qrs_onset_s", "qrs_offset_s"]].head(2))
```

What is simplified: one dipole for the whole heart (no local late potentials), a torso of fixed shape, the same beat for
all beats of a kind in a record, no aberrant conduction of premature beats, no drug effects. The mean normal beat is
fitted to normal recordings of PTB-XL's training split (`bench/normal_beat.py`): sim-to-real results on PTB-XL use that
much of it. Labels of the task `superdiagnostic` follow the conditions below; a record without a diagnosis and in sinus
rhythm is NORM.

The pictures below: the same patient (index {PATIENT}, seed 0) with each condition at severity {SEVERITY}, muscle noise
at {SNR_DB:g} dB. Drawn by `bench/gallery.py`.
"""


def main() -> None:
    (DOCS / "simulator").mkdir(exist_ok=True)
    parts = [HEAD]
    for name, condition in CONDITIONS.items():
        made = simulate(
            PATIENT, rate_hz=500, conditions={name: SEVERITY}, acquisition=Acquisition(snr_db=SNR_DB, kinds=("muscle",))
        )
        picture = DOCS / "simulator" / f"{name}.png"
        save(plot_sheet(made.recording, condition.title), picture)
        Image.open(picture).convert("RGB").quantize(32).save(picture, optimize=True)
        statements = [s for s in (condition.superdiagnostic, condition.rhythm) if s]
        parts.append(
            f"\n## {condition.title}\n\n"
            f"`{name}`: {condition.quantity} {condition.low:g} (severity 0) to {condition.high:g} (severity 1). "
            f"{condition.source}. PTB-XL: {', '.join(statements) or 'no statement of its own'}.\n\n"
            f"![{condition.title}](simulator/{name}.png)\n"
        )
    (DOCS / "simulator.md").write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
