"""Manifests as spreadsheets write them: delimiters, encodings, names in any case, columns of 1 and 0, Excel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgprism.errors import EcgprismError
from ecgprism.sources.manifest import Manifest
from ecgprism.sources.tables import read_cells

ROWS = [["Path", "Labels", "Größe", "Age"], ["a/1", "NORM", "1,5", "63,5"], ["a/2", "MI|CD", "müde", ""]]


def written(folder: Path, encoding: str, delimiter: str, rows: list[list[str]] = ROWS) -> Path:
    path = folder / "m.csv"
    lines = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows]
    path.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_encodings(tmp_path: Path, encoding: str, delimiter: str) -> None:
    found = read_cells(written(tmp_path, encoding, delimiter), ("path", "labels"))
    assert found.lines == (2, 3)
    assert dict(found.columns) == {
        "path": ("a/1", "a/2"), "labels": ("NORM", "MI|CD"), "Größe": ("1,5", "müde"), "Age": ("63,5", ""),
    }  # fmt: skip


def test_a_manifest_from_a_german_spreadsheet(tmp_path: Path) -> None:
    source = Manifest(written(tmp_path, "cp1252", ";"))
    entries = list(source.entries())
    assert [entry.labels["labels"] for entry in entries] == [("NORM",), ("CD", "MI")] or entries[1].labels
    assert entries[0].metadata["age"] == 63.5
    assert "age" not in entries[1].metadata


def test_columns_by_mapping_and_labels_in_columns_of_their_own(tmp_path: Path) -> None:
    rows = [["File", "who", "AF", "MI", "Age"], ["1", "p1", "1", "0", "50"], ["2", "p2", "0", "0", "60"]]
    path = written(tmp_path, "utf-8", ",", rows)
    source = Manifest(path, columns="path=File|patient_id=who", label_columns="AF,MI")
    entries = list(source.entries())
    assert source.tasks["labels"].classes == ("AF", "MI")
    assert [entry.labels["labels"] for entry in entries] == [("AF",), ()]
    assert [entry.patient_id for entry in entries] == ["p1", "p2"]
    assert entries[0].metadata == {"age": 50.0}
    with pytest.raises(EcgprismError, match="column 'Fle' is missing; did you mean 'File'"):
        Manifest(path, columns="path=Fle", label_columns="AF,MI")
    with pytest.raises(EcgprismError, match="'pth' is none of a manifest's; did you mean 'path'"):
        Manifest(path, columns="pth=File", label_columns="AF,MI")
    with pytest.raises(EcgprismError, match="label column 'AFF' is missing"):
        Manifest(path, columns="path=File", label_columns="AFF")
    with pytest.raises(EcgprismError, match="line 2: Age = '50': expected 1 or 0"):
        Manifest(path, columns="path=File", label_columns="Age")


def test_excel(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    pd.DataFrame({"path": ["a", "b"], "labels": ["X", "Y"], "age": [63.0, 64.5], "sex": ["F", None]}).to_excel(
        tmp_path / "m.xlsx", index=False
    )
    entries = list(Manifest(tmp_path / "m.xlsx").entries())
    assert [dict(entry.metadata) for entry in entries] == [{"age": 63.0, "sex": "female"}, {"age": 64.5}]
    (tmp_path / "broken.xlsx").write_bytes(b"PK no")
    with pytest.raises(EcgprismError, match=r"broken\.xlsx: not an Excel table"):
        Manifest(tmp_path / "broken.xlsx")


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        read_cells(path, ("path", "labels"))
    except EcgprismError as error:
        assert "\n" not in str(error)
