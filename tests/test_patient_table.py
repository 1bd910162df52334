"""Patients in a table beside recordings: joined by id or path, the table's values first, nothing mixed up or unsaid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ecgprism as ep
from ecgprism.cli.entry import app
from ecgprism.errors import EcgprismError
from ecgprism.model.prism import PrismModel
from tests.records import digital, write_wfdb


@pytest.fixture
def model(run_path: Path) -> PrismModel:
    return PrismModel.load(run_path)


def recordings(folder: Path, **comments: str) -> list[Path]:
    folder.mkdir(exist_ok=True, parents=True)
    made = []
    for name, comment in comments.items():
        path = write_wfdb(folder, name, digital()).with_suffix(".hea")
        path.write_text(path.read_text() + f"# {comment}\n" if comment else path.read_text())
        made.append(path)
    return made


def predicted(model: PrismModel, paths: object, table: object, **options: object) -> tuple[pd.DataFrame, list[str]]:
    notes: list[str] = []
    return ep.predict(model, paths, metadata_table=table, note=notes.append, **options), notes


def test_rows_are_joined_by_record_id_in_any_dialect_and_what_does_not_fit_is_said(
    model: PrismModel, tmp_path: Path
) -> None:
    paths = recordings(tmp_path / "r", a="Age: 60 Sex: F", b="", c="")
    table = tmp_path / "patients.csv"
    table.write_bytes('Record ID;Age;Gender;ward\r\na;"63,5";male;x\r\nb;;divers;y\r\nz;70;M;\r\n'.encode("utf-16"))
    found, notes = predicted(model, paths, table)
    alone = ep.predict(model, [paths[0]], metadata={"age": 63.5, "sex": "male"}, note=notes.append)
    columns = [name for name in found if name.startswith("p_")]
    np.testing.assert_allclose(found.loc[0, columns].astype(float), alone.loc[0, columns].astype(float), atol=1e-6)
    assert f"age=63.5 of {table}, the file says 60.0" in found["problem"][0]
    assert f"sex=male of {table}, the file says female" in found["problem"][0]
    assert "sex=divers: the model does not know it" in found["problem"][1]
    assert f"no row in {table}" in found["problem"][2]
    said = "\n".join(notes)
    assert f"{table}: 1 row fits no recording: z" in said
    assert f"{table}: 1 of 3 recordings have no row" in said
    assert f"{table}: not used, for the model does not know them: ward" in said


def test_without_ids_rows_are_joined_by_path_and_a_row_of_two_recordings_is_refused(
    model: PrismModel, tmp_path: Path
) -> None:
    paths = [*recordings(tmp_path / "x", ecg=""), *recordings(tmp_path / "y", ecg="")]
    table = tmp_path / "patients.csv"
    table.write_text("record_id,age\necg,40\n")
    with pytest.raises(EcgprismError, match=r"one row fits .*x/ecg\.hea and .*y/ecg\.hea; join by path"):
        predicted(model, paths, table)
    table.write_text("path,age\nx\\ecg.hea,40\ny/ecg,80\n")
    found, notes = predicted(model, paths, table)
    assert not [note for note in notes if "no row" in note or "fit" in note]
    columns = [name for name in found if name.startswith("p_")]
    for n, age in enumerate((40, 80)):
        alone = ep.predict(model, [paths[n]], metadata={"age": age}, note=notes.append)
        np.testing.assert_allclose(found.loc[n, columns].astype(float), alone.loc[0, columns].astype(float), atol=1e-6)


def test_a_data_frame_for_arrays_and_for_files(model: PrismModel, tmp_path: Path) -> None:
    signals = [ep.simulate(i, rate_hz=100, duration_s=10).recording.signal for i in range(2)]
    leads = ep.simulate(0, rate_hz=100, duration_s=10).recording.leads
    frame = pd.DataFrame({"age": [40.0, 80.0]}, index=pd.Index([1, 0], name="record_id"))
    options = {"rate_hz": 100, "unit": "mV", "leads": leads}
    found, _ = predicted(model, signals, frame, **options)
    same = ep.predict(model, signals, metadata={"age": [80.0, 40.0]}, note=lambda text: None, **options)
    pd.testing.assert_frame_equal(found, same)
    vectors = ep.embed(model, signals, metadata_table=frame, note=lambda text: None, **options)
    assert len(vectors) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("record_id,age\na,1\na,2\n", "record_id 'a' stands twice"),
        ("name,age\na,1\n", "column 'record_id' is missing"),
        ("record_id,ward\na,1\n", r"no column of the model's \(age, "),
        ("record_id,age\nzz,1\n", "no row fits a recording; rows: zz; recordings: a, b"),
        (None, "no such table"),
    ],
)
def test_a_table_that_cannot_be_joined_is_one_line(
    model: PrismModel, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "patients.csv").write_text(text)
    with pytest.raises(EcgprismError, match=rf"patients\.csv: {said}") as error:
        predicted(model, recordings(tmp_path / "r", a="", b=""), tmp_path / "patients.csv")
    assert "\n" not in str(error.value)


def test_a_column_is_given_once(model: PrismModel, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("record_id,age\na,1\n")
    with pytest.raises(EcgprismError, match=r"'age': given for all recordings and in .*patients\.csv; give it once"):
        predicted(model, recordings(tmp_path / "r", a=""), tmp_path / "patients.csv", metadata={"age": 3})


def test_the_commands_take_the_table_under_other_names(run_path: Path, tmp_path: Path) -> None:
    recordings(tmp_path / "r", a="", b="")
    (tmp_path / "patients.csv").write_text("ID;Alter\na;40\nb;80\n")
    table = ["--metadata-table", str(tmp_path / "patients.csv"), "--column", "record_id=ID", "--column", "age=Alter"]
    for command, out in (("predict", "p.csv"), ("embed", "e.parquet")):
        done = CliRunner().invoke(
            app, [command, str(run_path), str(tmp_path / "r"), *table, "--out", str(tmp_path / out)]
        )
        assert done.exit_code == 0, done.output
        assert "no row" not in done.output
    assert len(pd.read_csv(tmp_path / "p.csv")) == 2
    done = CliRunner().invoke(app, ["predict", str(run_path), str(tmp_path / "r"), *table, "--column", "sx=Alter"])
    assert "'sx' is none to be joined; did you mean 'sex'?" in str(done.exception)
