"""Prediction on folders of whatever people have: a row for each file, what is wrong with it beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ecgprism as ep
from ecgprism.ecg.quality import doubts
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError, ReadError
from ecgprism.formats import reading
from ecgprism.formats.contract import Declaration
from ecgprism.interface.card import Card, Column
from ecgprism.interface.inputs import Arrays
from ecgprism.interface.scoring import Logits
from ecgprism.prediction import files
from ecgprism.prediction.patient import known_value
from tests.records import digital, write_wfdb

COLUMNS = (Column("age", mean=60, std=10), Column("sex", categories=("F", "M")))


class Counting:
    """An engine that answers with the number of leads it sees and the age, and keeps how much it got at once."""

    card = Card(
        kind="multilabel", classes=("seen", "age"), leads=("I", "V1", "V2"), rate_hz=100, window=500, metadata=COLUMNS,
        views=("w",),
    )  # fmt: skip

    def __init__(self) -> None:
        self.metadata: list[list[float]] = []

    def run(self, arrays: Arrays) -> Logits:
        seen = arrays.lead_mask.sum(axis=1)
        self.metadata += arrays.metadata.tolist()
        logits = np.stack([seen - 2.5, np.nan_to_num(arrays.metadata[:, 0])], axis=1).astype(np.float32)
        ones = np.ones((len(seen), 1), dtype=bool)
        return Logits({"fused": logits, "w": logits}, ones, {"fused": logits, "w": logits})


def folder(tmp_path: Path) -> Path:
    values = digital(3, 600)
    write_wfdb(tmp_path, "a_good", values, ["I", "V1", "V2"])
    write_wfdb(tmp_path, "b_cut", values, ["I", "V1", "V2"])
    (tmp_path / "b_cut.dat").write_bytes(b"1234")
    flat = values.copy()
    flat[:, 1] = 3
    write_wfdb(tmp_path, "c_flat", flat, ["I", "V1", "II"], comments=["Age: 40", "Sex: Male"])
    write_wfdb(tmp_path, "d_other", values, ["V3", "V4", "V5"])
    write_wfdb(tmp_path, "e_still", flat[:, [1]], ["V1"])
    write_wfdb(tmp_path, "f_both", flat[:, [1, 0]], ["V1", "V6"])
    (tmp_path / "g.csv").write_text("nonsense\n")
    return tmp_path


def test_every_file_has_a_row_and_its_problem_beside_it(tmp_path: Path) -> None:
    notes: list[str] = []
    table = ep.predict(Counting(), [folder(tmp_path)], note=notes.append)
    assert table["record_id"].tolist() == ["a_good", "b_cut", "c_flat", "d_other", "e_still", "f_both", "g"]
    problems = dict(zip(table["record_id"], table["problem"], strict=True))
    assert problems["a_good"] == ""
    assert "truncated" in problems["b_cut"]
    assert problems["c_flat"] == "leads missing: V2; flat: V1"
    assert "none of the model's I, V1, V2" in problems["d_other"]
    assert "every lead is flat" in problems["e_still"]
    assert "every lead that the model knows is flat or missing (missing: I, V2; flat: V1)" in problems["f_both"]
    assert "no table of numbers" in problems["g"]
    answered = table["p_seen"].notna()
    assert table.loc[answered, "record_id"].tolist() == ["a_good", "c_flat"]
    assert table.loc[~answered, "labels"].tolist() == [""] * 5
    assert table["p_seen"][0] > 0.5 > table["p_seen"][2]
    assert len(notes) == 6
    with pytest.raises(ReadError, match="truncated"):
        ep.predict(Counting(), [tmp_path], strict=True)
    embedded = ep.embed(Counting(), [tmp_path])
    assert embedded["problem"].tolist() == table["problem"].tolist()
    assert embedded["fused"].notna().tolist() == answered.tolist()


def test_whatever_a_reader_raises_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write_wfdb(tmp_path, name, digital(1, 600), ["I"])
    whole = reading.wfdb.read

    def breaks(path: Path, *given: object) -> Recording:
        if path.stem == "b":
            raise ZeroDivisionError("a bug")
        return whole(path, *given)

    monkeypatch.setattr(reading, "_READERS", {**reading._READERS, "wfdb": breaks})
    table = ep.predict(Counting(), [tmp_path])
    assert "b.hea: not readable (ZeroDivisionError: a bug)" in table["problem"][1]
    assert table["p_seen"].notna().tolist() == [True, False, True]
    monkeypatch.setattr(files, "prepared_signal", lambda *_: 1 / 0)
    with pytest.raises(ReadError, match=r"not usable \(ZeroDivisionError"):
        ep.predict(Counting(), [tmp_path])


def test_what_is_declared_reaches_the_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(f"{a},{b}" for a, b in digital(2, 600)))
    with pytest.raises(ReadError, match="--rate 500"):
        ep.predict(Counting(), [path])
    table = ep.predict(Counting(), [path], declared=Declaration(rate_hz=100, unit="5uV", leads=("I", "V1")))
    assert table["problem"].tolist() == ["leads missing: V2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sex": "xyz"}, "sex=xyz: the model does not know it"), ({"age": "old"}, "age=old: expected 0 to 130 years"),
        ({"age": -500}, "expected 0 to 130 years"), ({"age": 99999}, "expected 0 to 130 years"),
        ({"agee": 3}, "no such column; did you mean 'age'"), ({"age": "inf"}, "expected 0 to 130"),
    ],
)  # fmt: skip
def test_metadata_that_the_model_does_not_know_is_an_error(
    tmp_path: Path, given: dict[str, float | str], message: str
) -> None:
    path = write_wfdb(tmp_path, "a", digital(1, 600), ["I"])
    with pytest.raises(EcgprismError, match=message):
        ep.predict(Counting(), [path], metadata=given)


@pytest.mark.parametrize("sex", ["F", "f", "female", "Female ", "w"])
def test_sex_is_understood_however_it_is_spelled(tmp_path: Path, sex: str) -> None:
    engine = Counting()
    ep.predict(engine, [write_wfdb(tmp_path, "a", digital(1, 400), ["I"])], metadata={"sex": sex, "age": "63"})
    assert engine.metadata == [[63.0, 0.0]]


def test_values_of_files_are_the_models_words_or_said_to_be_missing(tmp_path: Path) -> None:
    engine = Counting()
    write_wfdb(tmp_path, "a", digital(1, 400), ["I"], comments=["Age: 40", "Sex: Male"])
    ep.predict(engine, [tmp_path])
    assert engine.metadata == [[40.0, 1.0]]
    assert known_value(Column("sex", categories=("0", "1")), "female") == (
        None, "sex=female: the model does not know it; there are: 0, 1",
    )  # fmt: skip
    for missing in ("", "nan", "NA", "n/a", "None", "unknown", "?", "-", None):
        assert known_value(COLUMNS[0], missing) == known_value(COLUMNS[1], missing) == (None, "")


def test_a_chunk_ends_by_samples_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcde":
        write_wfdb(tmp_path, name, digital(2, 600, seed=ord(name)), ["I", "V1"])
    whole = ep.predict(Counting(), [tmp_path])
    sizes: list[int] = []
    score = files.score

    def counted(engine: Counting, assembler: files.SignalAssembler) -> files.Scores:
        sizes.append(len(assembler.lengths))
        return score(engine, assembler)

    monkeypatch.setattr(files, "score", counted)
    monkeypatch.setattr(files, "CHUNK_SAMPLES", 12 * 1000)
    pd.testing.assert_frame_equal(ep.predict(Counting(), [tmp_path]), whole)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("factor", "rate_hz", "said"),
    [
        (1, 100, ()),
        (0.02, 100, ("no lead moves",)),
        (80, 100, ("a lead moves by",)),
        (1, 25, ("a sampling rate of 25",)),
    ],
)
def test_a_unit_or_rate_far_from_an_ecg_is_said(factor: float, rate_hz: float, said: tuple[str, ...]) -> None:
    signal = factor * np.sin(np.arange(300) / 5)[None].astype(np.float32)
    found = doubts(Recording(signal, rate_hz, ("I",)))
    assert len(found) == len(said)
    assert all(a.startswith(b) for a, b in zip(found, said, strict=True))
