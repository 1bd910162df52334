"""Sources: which recordings, whose, with which labels; and every mistake in their tables in one line."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from ecgprism.errors import ConfigError, EcgprismError, ReadError
from ecgprism.interface.card import Task
from ecgprism.registry import components
from ecgprism.sources.contract import Entry, ItemSource, Source
from ecgprism.sources.opening import open_source

from .data_sets import write_challenge, write_ludb, write_mitbih
from .records import digital, ptbxl_row, write_cinc, write_manifest, write_ptbxl, write_wfdb


def entries(name: str, root: Path, **options: object) -> list[Entry]:
    return list(open_source(name, root, options).entries())


def refusal(name: str, root: Path, **options: object) -> str:
    """The message of the error that opening or enumerating raises, after checking that it is one line."""
    with pytest.raises(EcgprismError) as caught:
        entries(name, root, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- PTB-XL


def ptbxl(root: Path, *rows: dict[str, object]) -> Path:
    return write_ptbxl(root, rows)


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("superdiagnostic", ("MI", "STTC")),  # two codes of MI are MI once; in order of name
        ("subdiagnostic", ("AMI", "IMI", "STTC")),
        ("diagnostic", ("ASMI", "IMI", "NDT")),
        ("form", ("ABQRS", "NDT")),  # NDT is diagnostic and form
        ("rhythm", ("SR",)),
        ("all", ("ABQRS", "ASMI", "IMI", "NDT", "SR")),
    ],
)
def test_ptbxl_labels_follow_the_benchmark_whatever_the_likelihood(
    tmp_path: Path, task: str, labels: tuple[str, ...]
) -> None:
    codes = {"SR": 0, "NDT": 100.0, "IMI": 0.0, "ASMI": 15.0, "ABQRS": 0.0, "UNHEARD": 100.0}
    (entry,) = entries("ptbxl", ptbxl(tmp_path, ptbxl_row(1, codes)))
    assert entry.labels[task] == labels


def test_ptbxl_classes_are_the_superclasses_and_elsewhere_what_the_records_hold(tmp_path: Path) -> None:
    rows = ptbxl_row(1, {"NDT": 50.0, "SR": 0.0}), ptbxl_row(2, {"IMI": 100.0, "AFIB": 0.0})
    tasks = open_source("ptbxl", ptbxl(tmp_path, *rows)).tasks
    assert tasks == {
        "superdiagnostic": Task("multilabel", ("NORM", "MI", "STTC", "CD", "HYP")),
        "subdiagnostic": Task("multilabel", ("IMI", "STTC")),
        "diagnostic": Task("multilabel", ("IMI", "NDT")),
        "form": Task("multilabel", ("NDT",)),
        "rhythm": Task("multilabel", ("AFIB", "SR")),
        "all": Task("multilabel", ("AFIB", "IMI", "NDT", "SR")),
    }


def test_ptbxl_leaves_a_task_without_any_code_out_of_the_labels(tmp_path: Path) -> None:
    rows = ptbxl_row(1, {"SR": 0.0}), ptbxl_row(2, {}), ptbxl_row(3, {"IMI": 1.0})
    rhythm, nothing, infarct = entries("ptbxl", ptbxl(tmp_path, *rows))
    assert rhythm.labels == {"rhythm": ("SR",), "all": ("SR",)}
    assert nothing.labels == {}
    assert set(infarct.labels) == {"superdiagnostic", "subdiagnostic", "diagnostic", "all"}


def test_ptbxl_min_likelihood_keeps_codes_from_that_value_on(tmp_path: Path) -> None:
    root = ptbxl(tmp_path, ptbxl_row(1, {"NORM": 49.9, "IMI": 50.0, "NDT": 100.0, "SR": 0.0}))
    (entry,) = entries("ptbxl", root, min_likelihood=50)
    assert entry.labels["superdiagnostic"] == ("MI", "STTC")
    assert "rhythm" not in entry.labels
    with pytest.raises(ConfigError, match="min_likelihood = 101"):
        entries("ptbxl", root, min_likelihood=101)


@pytest.mark.parametrize(
    ("given", "metadata"),
    [
        ({"age": "300.0", "sex": 1}, {"age": 90.0, "sex": "female"}),
        ({"age": "89.0", "sex": 0}, {"age": 89.0, "sex": "male"}),
        ({"age": "", "sex": ""}, {}),
        ({"age": "3", "sex": 1, "height": "98.0", "weight": "14.5"},
         {"age": 3.0, "sex": "female", "height": 98.0, "weight": 14.5}),
        ({"age": "60", "sex": 0, "height": "", "weight": "80"}, {"age": 60.0, "sex": "male", "weight": 80.0}),
    ],
)  # fmt: skip
def test_ptbxl_metadata_are_years_cm_kg_and_what_is_missing_is_absent(
    tmp_path: Path, given: dict[str, object], metadata: dict[str, float | str]
) -> None:
    other = ptbxl_row(2, {"SR": 0.0}, height="180", weight="70", age="50", sex=1)  # so that no column is all empty
    first, _ = entries("ptbxl", ptbxl(tmp_path, ptbxl_row(1, {"SR": 0.0}, **given), other))
    assert first.metadata == metadata


def test_ptbxl_folds_are_the_official_split(tmp_path: Path) -> None:
    rows = [ptbxl_row(fold, {"SR": 0.0}, strat_fold=fold) for fold in range(1, 11)]
    assert [entry.split for entry in entries("ptbxl", ptbxl(tmp_path, *rows))] == ["train"] * 8 + ["val", "test"]


def test_ptbxl_patient_and_record_are_named_by_whole_numbers(tmp_path: Path) -> None:
    rows = ptbxl_row(7, {"SR": 0.0}, patient_id="15709.0"), ptbxl_row(21837, {"SR": 0.0}, patient_id="")
    known, unknown = entries("ptbxl", ptbxl(tmp_path, *rows))
    assert (known.record_id, known.patient_id) == ("ptbxl_00007", "15709")
    assert (unknown.record_id, unknown.patient_id) == ("ptbxl_21837", None)


@pytest.mark.parametrize(("rate", "folder"), [(100, "records100"), (500, "records500")])
def test_ptbxl_reads_the_stored_version_of_the_asked_rate(tmp_path: Path, rate: int, folder: str) -> None:
    root = write_ptbxl(tmp_path, [ptbxl_row(1, {"SR": 0.0})], signals=True)
    source = open_source("ptbxl", root, {"rate": rate})
    (entry,) = source.entries()
    recording = source.read(entry)
    assert Path(entry.path).is_relative_to(root / folder)
    assert (recording.rate_hz, recording.leads, recording.signal.shape) == (rate, ("I", "aVR"), (2, 2 * rate))
    with pytest.raises(ConfigError, match="rate = 250"):
        open_source("ptbxl", root, {"rate": 250})


@pytest.mark.parametrize("missing", ["ptbxl_database.csv", "scp_statements.csv"])
def test_ptbxl_names_the_file_that_is_not_there(tmp_path: Path, missing: str) -> None:
    root = ptbxl(tmp_path, ptbxl_row(1, {"SR": 0.0}))
    (root / missing).unlink()
    message = refusal("ptbxl", root)
    assert message.startswith(f"{root / missing}: no such file")
    assert "not the folder of PTB-XL" in message


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("ptbxl_database.csv", "ecg_id"), ("ptbxl_database.csv", "scp_codes"), ("ptbxl_database.csv", "strat_fold"),
        ("ptbxl_database.csv", "filename_lr"), ("scp_statements.csv", "diagnostic"), ("scp_statements.csv", "form"),
        ("scp_statements.csv", "rhythm"), ("scp_statements.csv", "diagnostic_class"),
        ("scp_statements.csv", "diagnostic_subclass"),
    ],
)  # fmt: skip
def test_ptbxl_names_the_column_that_is_not_there(tmp_path: Path, file: str, column: str) -> None:
    root = ptbxl(tmp_path, ptbxl_row(1, {"SR": 0.0}))
    head, _, body = (root / file).read_text().partition("\n")
    renamed = [f"{name}_old" if name == column else name for name in head.split(",")]
    (root / file).write_text(",".join(renamed) + "\n" + body)
    assert f"{root / file}: column {column!r} is missing" in refusal("ptbxl", root)


@pytest.mark.parametrize("text", ["", "\n", "\xff\xfe\x00"])
@pytest.mark.parametrize("file", ["ptbxl_database.csv", "scp_statements.csv"])
def test_ptbxl_refuses_a_file_that_is_no_table(tmp_path: Path, file: str, text: str) -> None:
    root = ptbxl(tmp_path, ptbxl_row(1, {"SR": 0.0}))
    (root / file).write_bytes(text.encode("latin-1"))
    assert str(root / file) in refusal("ptbxl", root)


@pytest.mark.parametrize("codes", ["", "NORM", "{'NORM': ", "['NORM']", "{'NORM': 'sure'}", "{1, 2}", "7"])
def test_ptbxl_names_the_record_whose_codes_are_no_codes(tmp_path: Path, codes: str) -> None:
    rows = ptbxl_row(1, {"SR": 0.0}), ptbxl_row(2, {}, scp_codes=codes)
    message = refusal("ptbxl", ptbxl(tmp_path, *rows))
    assert "ptbxl_database.csv: ecg_id 2: scp_codes" in message


@pytest.mark.parametrize("column", ["ecg_id", "strat_fold", "filename_lr"])
def test_ptbxl_refuses_an_empty_cell_that_every_record_needs(tmp_path: Path, column: str) -> None:
    rows = ptbxl_row(1, {"SR": 0.0}), ptbxl_row(2, {"SR": 0.0}) | {column: ""}
    message = refusal("ptbxl", ptbxl(tmp_path, *rows))
    assert "ptbxl_database.csv" in message
    assert column in message


def test_ptbxl_finds_out_about_a_missing_recording_on_reading(tmp_path: Path) -> None:
    source = open_source("ptbxl", ptbxl(tmp_path, ptbxl_row(1, {"SR": 0.0})))
    (entry,) = source.entries()
    with pytest.raises(ReadError, match=r"records100/00000/00001_lr\.hea: no such file"):
        source.read(entry)


# --- CinC 2017


def test_cinc_labels_are_those_of_the_reference_in_its_order(tmp_path: Path) -> None:
    root = write_cinc(tmp_path, "NAO~A")
    source = open_source("cinc2017", root)
    assert source.tasks == {"rhythm": Task("multiclass", ("N", "A", "O", "~"))}
    listed = list(source.entries())
    assert [entry.record_id for entry in listed] == [f"A{i:05d}" for i in range(1, 6)]
    assert [entry.labels["rhythm"] for entry in listed] == [("N",), ("A",), ("O",), ("~",), ("A",)]
    assert {(entry.patient_id, entry.split) for entry in listed} == {(None, None)}


def test_cinc_may_be_named_by_the_folder_above(tmp_path: Path) -> None:
    write_cinc(tmp_path / "training2017", "NA")
    above, itself = entries("cinc2017", tmp_path), entries("cinc2017", tmp_path / "training2017")
    assert above == itself
    assert [entry.path for entry in above] == [str(tmp_path / "training2017" / f"A0000{i}") for i in (1, 2)]


def test_cinc_reads_its_channel_ecg_as_lead_i(tmp_path: Path) -> None:
    source = open_source("cinc2017", write_cinc(tmp_path, "N", samples=600))
    recording = source.read(next(iter(source.entries())))
    assert (recording.leads, recording.rate_hz, recording.skipped) == (("I",), 300, ())
    np.testing.assert_allclose(recording.signal[0], digital(1, 600, seed=0)[:, 0] / 1000, rtol=1e-6)
    assert source.lead_aliases == {"ECG": "I"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("A00002,n", r"line 2: unknown label 'n'; did you mean 'N'\?"),
        ("A00002,AF", r"line 2: unknown label 'AF'; did you mean 'A'\?"),
        ("A00002,X", r"line 2: unknown label 'X'; there are: A, N, O, ~"),
        ("A00002", r"line 2: expected record,label and got \['A00002'\]"),
        ("A00002,N,1", r"line 2: expected record,label and got \['A00002', 'N', '1'\]"),
    ],
)
def test_cinc_names_the_line_that_is_wrong(tmp_path: Path, line: str, problem: str) -> None:
    root = write_cinc(tmp_path, "NA")
    edit(root / "REFERENCE.csv", "A00002,A", line)
    assert re.search(problem, refusal("cinc2017", root))


def test_cinc_takes_spaces_around_record_and_label(tmp_path: Path) -> None:
    root = write_cinc(tmp_path, "NA")
    edit(root / "REFERENCE.csv", "A00002,A", " A00002 , A ")
    assert (entries("cinc2017", root)[1].record_id, entries("cinc2017", root)[1].labels["rhythm"]) == ("A00002", ("A",))


def test_cinc_refuses_a_reference_that_is_no_text(tmp_path: Path) -> None:
    root = write_cinc(tmp_path, "N")
    (root / "REFERENCE.csv").write_bytes(b"A00001,N\n\xff\xfe,\x89\n")
    assert "REFERENCE.csv, line 2: unknown label" in refusal("cinc2017", root)


@pytest.mark.parametrize("beside", [False, True])
def test_cinc_takes_the_newest_labels_and_says_which(tmp_path: Path, beside: bool) -> None:
    root = write_cinc(tmp_path / "training2017", "NAO")
    folder = tmp_path if beside else root
    for version, labels in (("0", "OOO"), ("3", "NNA"), ("10", "AAA"), ("original", "~~~")):
        lines = [f"A{i:05d},{label}\n" for i, label in enumerate(labels, start=1)]
        (folder / f"REFERENCE-{'' if version == 'original' else 'v'}{version}.csv").write_text("".join(lines))

    def read(**options: str) -> tuple[str, tuple[str, ...]]:
        source = open_source("cinc2017", tmp_path if beside else root, options)
        return "".join(entry.labels["rhythm"][0] for entry in source.entries()), source.notes

    assert read() == ("AAA", ("labels of REFERENCE-v10.csv",))
    assert read(reference="REFERENCE.csv") == ("NAO", ("labels of REFERENCE.csv",))
    assert read(reference="REFERENCE-original.csv")[0] == "~~~"
    (folder / "REFERENCE-v10.csv").unlink()
    assert read() == ("NNA", ("labels of REFERENCE-v3.csv",))
    (folder / "REFERENCE-v3.csv").unlink()
    assert read() == ("NAO", ("labels of REFERENCE.csv",))
    with pytest.raises(EcgprismError, match=r"reference = 'REFERENCE-v4.csv' is not here; did you mean 'REFERENCE-v0"):
        read(reference="REFERENCE-v4.csv")


def test_cinc_without_its_reference_is_refused(tmp_path: Path) -> None:
    root = write_cinc(tmp_path, "N")
    (root / "REFERENCE.csv").unlink()
    assert refusal("cinc2017", root).startswith(f"{root}: no REFERENCE.csv here")


# --- manifest


def manifest(folder: Path, text: str | bytes) -> Path:
    path = folder / "m.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_manifest_fills_in_what_a_row_leaves_out(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels\nsub/a,N\n/abs/b,N\n")
    first, second = entries("manifest", path)
    assert first == Entry("sub/a", str(tmp_path / "sub/a"), {"labels": ("N",)}, None, None, {})
    assert (second.record_id, second.path) == ("/abs/b", "/abs/b")


def test_manifest_reads_ids_and_patients_as_text(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels,record_id,patient_id\na,N,007,0012\nb,N,,\nc,N,NA,null\n")
    assert [(entry.record_id, entry.patient_id) for entry in entries("manifest", path)] == [
        ("007", "0012"), ("b", None), ("NA", None),
    ]  # fmt: skip


def test_manifest_may_be_named_by_its_folder_and_reads_its_records(tmp_path: Path) -> None:
    write_manifest(tmp_path, 2)
    source = open_source("manifest", tmp_path)
    assert [source.read(entry).leads for entry in source.entries()] == [("I",), ("I",)]
    assert list(source.entries()) == entries("manifest", tmp_path / "manifest.csv")


def test_manifest_labels_are_joined_by_a_bar(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels\na,B| A\nb,A\nc, |B|\n")
    assert open_source("manifest", path).tasks == {"labels": Task("multilabel", ("A", "B"))}
    assert [entry.labels["labels"] for entry in entries("manifest", path)] == [("B", "A"), ("A",), ("B",)]


def test_manifest_task_has_the_name_and_kind_that_are_asked_for(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels\na,N\nb,A\n")
    source = open_source("manifest", path, {"task": "rhythm", "kind": "multiclass"})
    assert source.tasks == {"rhythm": Task("multiclass", ("A", "N"))}
    assert next(iter(source.entries())).labels == {"rhythm": ("N",)}
    with pytest.raises(ConfigError, match=r"kind = 'binary'"):
        open_source("manifest", path, {"kind": "binary"})


def test_manifest_metadata_are_numbers_only_where_every_given_value_is_one(tmp_path: Path) -> None:
    text = "path,labels,age,sex,height,site\na,N,64,female,,1\nb,N,7.5,,180,2\nc,N,,male,,x\n"
    metadata = [entry.metadata for entry in entries("manifest", manifest(tmp_path, text))]
    assert metadata == [
        {"age": 64.0, "sex": "female", "site": "1"},
        {"age": 7.5, "height": 180.0, "site": "2"},
        {"sex": "male", "site": "x"},
    ]
    assert isinstance(metadata[0]["age"], float)


def test_manifest_unlabelled_rows_are_left_out_of_the_task_or_negative(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels\na,N\nb,\nc, | \n")
    assert [entry.labels for entry in entries("manifest", path)] == [{"labels": ("N",)}, {}, {}]
    negative = entries("manifest", path, unlabelled="negative")
    assert [entry.labels for entry in negative] == [{"labels": ("N",)}, {"labels": ()}, {"labels": ()}]


@pytest.mark.parametrize(
    ("spelling", "split"),
    [
        ("train", "train"), ("Training", "train"), ("val", "val"), ("VALID", "val"), ("validation", "val"),
        ("Test", "test"),
    ],
)  # fmt: skip
def test_manifest_split_goes_by_its_usual_names(tmp_path: Path, spelling: str, split: str) -> None:
    (entry,) = entries("manifest", manifest(tmp_path, f"path,labels,split\na,N,{spelling}\n"))
    assert entry.split == split


def test_manifest_with_an_empty_split_column_has_no_official_split(tmp_path: Path) -> None:
    listed = entries("manifest", manifest(tmp_path, "path,labels,split\na,N,\nb,A,\n"))
    assert [entry.split for entry in listed] == [None, None]


def test_manifest_leads_declare_spellings(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", digital(2), ["ECG", "Ch2"])
    path = manifest(tmp_path, "path,labels\na,N\n")
    source = open_source("manifest", path, {"leads": "ECG=I| Ch2 = V5"})
    assert source.lead_aliases == {"ECG": "I", "Ch2": "V5"}
    assert source.read(next(iter(source.entries()))).leads == ("I", "V5")
    with pytest.raises(ReadError, match="no channel is a known ECG lead"):
        plain = open_source("manifest", path)
        plain.read(next(iter(plain.entries())))
    assert "leads: 'ECG': expected SPELLING=LEAD" in refusal("manifest", path, leads="ECG")


def test_manifest_classes_fix_names_and_order(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels\na,N\nb,AFIB\n")
    source = open_source("manifest", path, {"classes": "N|VT|AFIB"})
    assert source.tasks["labels"].classes == ("N", "VT", "AFIB")
    message = refusal("manifest", path, classes="N|AFL|AF")
    assert message == f"{path}, line 3: unknown label 'AFIB'; did you mean 'AF'?"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path,label\na,N\n", "column 'labels' is missing; did you mean 'label'?"),
        ("file,labels\na,N\n", "column 'path' is missing; there are: file, labels"),
        ("path;label\na;N\n", "column 'labels' is missing; did you mean 'label'?"),
        ("path,labels\na,N\n ,N\n", "line 3: path is empty"),
        ("path,labels\na,1\nb,2.5\n", "line 3: label '2.5': numbers with fractions are no classes"),
        ("path,labels\n", "no row has a label"),
        ("path,labels\na,\nb, \n", "no row has a label"),
        ("path,labels,split\na,N,train\nb,N,\n", "line 3: split is empty; give it for every row or for none"),
        ("path,labels,split\na,N,\nb,N,test\n", "line 2: split is empty; give it for every row or for none"),
        ("path,labels,split\na,N,trian\n", "line 2: split 'trian'; did you mean 'train'?"),
        ("path,labels,split\na,N,9\n", "line 2: split '9'; there are: test, train, val"),
        ("path,labels,patient_id,split\na,N,p1,train\nb,N,p2,test\nc,A,p1,test\n",
         "line 4: patient p1 is in split test here and in train in line 2"),
        ("", "not a CSV table"),
        ("path,labels\na,N\nb,N,x,y\n", "not a CSV table"),
        (b"path,labels\x00\n", "not a CSV table"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a CSV table"),
    ],
)  # fmt: skip
def test_manifest_mistakes_are_named_with_file_and_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    path = manifest(tmp_path, text)
    message = refusal("manifest", path)
    assert message.startswith(str(path))
    assert problem in message


def test_manifest_of_one_patient_in_one_split_by_two_names_is_taken(tmp_path: Path) -> None:
    text = "path,labels,patient_id,split\na,N,p1,train\nb,N,p1,Training\nc,N,,test\nd,N,,train\n"
    assert len(entries("manifest", manifest(tmp_path, text))) == 4


def test_manifest_two_labels_need_kind_multilabel(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels\na,N\nb,N|A\n")
    message = refusal("manifest", path, kind="multiclass")
    assert message == f"{path}, line 3: labels 'N|A': kind=multiclass allows one; or kind=multilabel"
    assert len(entries("manifest", path, kind="multilabel")) == 2


def test_manifest_rows_longer_than_the_header_never_shift_the_columns(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels,site\na,N,x,1\nb,A,y,2\n")  # as with row names that have no column
    assert "line 2 has more fields than its header" in refusal("manifest", path)
    ends = entries("manifest", manifest(tmp_path, "path,labels,site\na,N,x,\nb,A,y,,,\n"))  # commas at the end of rows
    assert [(entry.path[-1], entry.metadata) for entry in ends] == [("a", {"site": "x"}), ("b", {"site": "y"})]


def test_manifest_rows_shorter_than_the_header_leave_the_rest_empty(tmp_path: Path) -> None:
    first, second = entries("manifest", manifest(tmp_path, "path,labels,age\na,N\nb,N,4\n"))
    assert (first.metadata, second.metadata) == ({}, {"age": 4.0})


def test_manifest_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = manifest(tmp_path, 'path,labels,note\n\na,N,"one\ntwo"\n\n,A,\n')
    assert refusal("manifest", path) == f"{path}, line 6: path is empty"


def test_manifest_rows_end_at_line_ends_alone(tmp_path: Path) -> None:
    text = 'path,labels,note\r\na,N,x\u2028y\x0bz\r\nb,A,"one\ntwo"\r\n'
    assert [entry.metadata for entry in entries("manifest", manifest(tmp_path, text))] == [
        {"note": "x\u2028y\x0bz"}, {"note": "one\ntwo"},
    ]  # fmt: skip


@pytest.mark.parametrize("column", ["labels", "split", "patient_id", "age"])
def test_manifest_refuses_a_column_that_stands_twice(tmp_path: Path, column: str) -> None:
    names = ["path", "labels", "split", "patient_id", "age", column]
    path = manifest(tmp_path, f"{','.join(names)}\na,N,train,p,5,\nb,N,test,q,6,\n")
    assert f"column {column!r} stands twice" in refusal("manifest", path)


def test_manifest_may_start_with_a_byte_order_mark_and_space_its_cells(tmp_path: Path) -> None:
    (entry,) = entries(
        "manifest", manifest(tmp_path, "\ufeffpath, labels , age\r\na , N , 5 \r\n".replace("s ,", "s,"))
    )
    assert (entry.record_id, entry.labels["labels"], entry.metadata) == ("a", ("N",), {"age": 5.0})


def test_manifest_that_is_not_there_says_what_it_should_be(tmp_path: Path) -> None:
    message = refusal("manifest", tmp_path)
    assert message.startswith(f"{tmp_path / 'manifest.csv'}: no such manifest")
    assert "path, record_id, patient_id, split, labels" in message


# --- simulated, and every source


def test_simulated_entries_are_what_is_simulated() -> None:
    source = open_source("simulated", None, {"n": 6, "seed": 3, "rate_hz": 200, "duration_s": 2})
    listed = list(source.entries())
    assert [entry.record_id for entry in listed] == [f"sim_{i:06d}" for i in range(6)]
    recordings = [source.read(entry) for entry in listed]
    assert {recording.signal.shape for recording in recordings} == {(12, 400)}
    assert [recording.patient_id for recording in recordings] == [entry.patient_id for entry in listed]
    assert [dict(recording.metadata) for recording in recordings] == [dict(entry.metadata) for entry in listed]
    assert len({entry.patient_id for entry in listed}) == 3
    assert all(set(entry.labels["superdiagnostic"]) <= set(source.tasks["superdiagnostic"].classes) for entry in listed)


def test_simulated_seeds_differ_and_repeat() -> None:
    def drawn(seed: int) -> list[Entry]:
        return list(open_source("simulated", None, {"n": 40, "seed": seed}).entries())

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("record_id", ["sim_000006", "sim_1", "A00001", ""])
def test_simulated_refuses_an_entry_of_another_source(record_id: str) -> None:
    source = open_source("simulated", None, {"n": 6})
    with pytest.raises(ReadError, match="expected sim_000000 to sim_000005"):
        source.read(Entry(record_id, "", {}))


@pytest.mark.parametrize("option", [{"n": 0}, {"seed": -1}, {"rate_hz": 0}, {"duration_s": -1}, {"n": "many"}])
def test_simulated_refuses_impossible_options(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        open_source("simulated", None, option)


def small(name: str, folder: Path) -> Source:
    if name == "simulated":
        return open_source(name, None, {"n": 2})
    if name == "arrays":
        np.save(folder / "x.npy", np.random.default_rng(0).normal(0, 0.2, (2, 1, 500)))
        (folder / "y.csv").write_text("labels\nA\nB\n")
        options = {"labels": str(folder / "y.csv"), "rate_hz": 100, "unit": "mV", "leads": "I"}
        return open_source(name, folder / "x.npy", options)
    rows = [ptbxl_row(1, {"NORM": 100.0}), ptbxl_row(2, {"IMI": 50.0})]
    makers = {
        "cinc2017": lambda: write_cinc(folder, "NA"),
        "manifest": lambda: write_manifest(folder, 2),
        "ptbxl": lambda: write_ptbxl(folder, rows, signals=True),
        "mitbih": lambda: write_mitbih(folder),
        "challenge2021": lambda: write_challenge(folder, {"g1/JS1": "426783006", "g2/E1": "164889003,1"}),
        "ludb": lambda: write_ludb(folder, {"1": "Sinus rhythm", "2": "Atrial fibrillation"}),
    }
    return open_source(name, makers[name]())


@pytest.mark.parametrize("name", sorted(components("sources")))
def test_every_source_pickles_repeats_its_entries_and_labels_with_its_classes(name: str, tmp_path: Path) -> None:
    source = small(name, tmp_path)
    copy = pickle.loads(pickle.dumps(source))
    listed = list(source.entries())
    assert listed == list(source.entries()) == list(copy.entries())
    assert len(listed) == 2
    for entry in listed:
        np.testing.assert_array_equal(source.read(entry).signal, copy.read(entry).signal)
        held = [entry.labels]
        if isinstance(source, ItemSource):
            items, unused = source.items(entry, source.read(entry))
            assert (items, unused) == source.items(entry, copy.read(entry))
            held = [item.labels for item in items]
        assert any(held)
        for labels_of in held:
            for task, labels in labels_of.items():
                assert set(labels) <= set(source.tasks[task].classes)


@pytest.mark.parametrize(
    ("name", "root", "options", "problem"),
    [
        ("manifst", "x", {}, "sources: there is no 'manifst'; did you mean 'manifest'?"),
        ("ptbxl", None, {}, "ptbxl: which folder (or file) is it in?"),
        ("simulated", "x", {}, "simulated: needs no root; 'x' is not used"),
        ("manifest", "nowhere", {}, "nowhere: no such file or folder"),
        ("simulated", None, {"sead": 1}, "simulated has no option 'sead'; did you mean 'seed'?"),
    ],
)
def test_a_source_is_opened_by_name_with_root_and_options_checked(
    name: str, root: str | None, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(EcgprismError) as caught:
        open_source(name, root, options)
    assert problem in str(caught.value)
