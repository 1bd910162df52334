"""Model files of older formats: opened, and of the same answers as the version that wrote them gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ecgprism as ep
from ecgprism.interface.storage import MODEL, read_card, read_model

OLD = Path(__file__).parent / "data" / "model_format_2.safetensors"
#: what the version that wrote the file said of three simulated ECGs: NORM, MI, CD
SAID = (
    (0.2705298808050858, 0.1953907549371559, 0.4420986511371059),
    (0.22014566442732592, 0.15638768684745183, 0.44536309016601117),
    (0.21968466601200068, 0.15603722441481427, 0.44539526065219115),
)


def said_by(model: Path) -> np.ndarray:
    recordings = [ep.simulate(i, rate_hz=100, duration_s=10).recording for i in range(3)]
    table = ep.predict(
        model, np.stack([each.signal for each in recordings]), rate_hz=100, unit="mV", leads=recordings[0].leads,
        metadata={"age": 55.0, "sex": "male"},
    )  # fmt: skip
    return table[["p_NORM", "p_MI", "p_CD"]].to_numpy(dtype=float)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_of_format_2_answers_as_it_did_and_is_saved_in_the_newest_format(tmp_path: Path) -> None:
    assert read_card(OLD).format == 2
    np.testing.assert_allclose(said_by(OLD), SAID, atol=2e-6)
    ep.PrismModel.load(OLD).save(tmp_path)
    card, network, _ = read_model(tmp_path / MODEL)
    assert card.format == 3
    assert network["views"]["wave"]["encoder"]["options"]["stem_stride"] == 2
    np.testing.assert_allclose(said_by(tmp_path), SAID, atol=2e-6)


def test_a_model_is_saved_with_options_that_nobody_gave(tmp_path: Path) -> None:
    ep.PrismModel.of(["spectrogram"], ["AF", "NORM"]).save(tmp_path)
    _, network, _ = read_model(tmp_path)
    branch = network["views"]["spectrogram"]
    assert branch["view"]["options"]["hop_s"] == 0.16
    assert branch["encoder"]["options"]["width"] == 24
    assert network["fusion"]["options"] == {"dropout": 0.2}
