"""Annotation files: beats, rhythms and notes as the wfdb package writes them; cut ones refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgprism.errors import ReadError
from ecgprism.sources.physionet import read_annotations


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 1100), st.integers(1, 3_000_000)),
            st.sampled_from('NLRaVFJASEj/Q~|sT*D"=pB^t+u?![]en@xf()r'),
            st.sampled_from(["", "(N", "(AFIB", "odd", "note of a length that is even"]),
            st.integers(-3, 3),
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_annotations_are_those_the_wfdb_package_writes_and_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("annotations")
    steps, symbols, notes, subtypes, channels, numbers = zip(*rows, strict=True)
    samples = np.cumsum(steps)
    wfdb.wrann(
        "a", "atr", samples, list(symbols), np.array(subtypes), np.array(channels), np.array(numbers),
        aux_note=list(notes), write_dir=str(folder),
    )  # fmt: skip
    read = read_annotations(folder / "a.atr", 250)
    theirs = wfdb.rdann(str(folder / "a"), "atr")
    assert [mark.at_s for mark in read] == (samples / 250).tolist() == (theirs.sample / 250).tolist()
    assert [mark.symbol for mark in read] == list(symbols) == theirs.symbol
    assert [mark.note for mark in read] == list(notes)


def test_annotations_with_a_rate_of_their_own_are_in_its_seconds(tmp_path: Path) -> None:
    wfdb.wrann("a", "atr", np.array([0, 500]), ["N", "V"], fs=1000, write_dir=str(tmp_path))
    assert [(mark.at_s, mark.symbol) for mark in read_annotations(tmp_path / "a.atr", 250)] == [(0.0, "N"), (0.5, "V")]


def test_annotations_with_symbols_of_their_own_keep_them(tmp_path: Path) -> None:
    own = pd.DataFrame({"label_store": [44], "symbol": ["Z"], "description": ["made up"]})
    wfdb.wrann("a", "atr", np.array([5, 9]), ["N", "Z"], custom_labels=own, write_dir=str(tmp_path))
    assert [(mark.at_s, mark.symbol) for mark in read_annotations(tmp_path / "a.atr", 1)] == [(5.0, "N"), (9.0, "Z")]


def test_annotations_that_go_back_in_time_do_so(tmp_path: Path) -> None:
    words = [59 << 10, 0, 2000, 1 << 10, 59 << 10, 0xFFFF, 0x10000 - 1500, 5 << 10 | 7, 0]
    (tmp_path / "a.atr").write_bytes(np.array(words, dtype="<u2").tobytes())
    assert [(m.at_s, m.symbol) for m in read_annotations(tmp_path / "a.atr", 1)] == [(2000.0, "N"), (507.0, "V")]


def test_a_note_ends_before_its_nul(tmp_path: Path) -> None:
    words = np.array([28 << 10 | 5, 63 << 10 | 3], dtype="<u2").tobytes()
    (tmp_path / "a.atr").write_bytes(words + b"(N\0\0" + b"\0\0")
    (mark,) = read_annotations(tmp_path / "a.atr", 1)
    assert (mark.at_s, mark.symbol, mark.note) == (5.0, "+", "(N")


def test_annotations_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    samples = np.array([5, 3000, 3100])
    wfdb.wrann("a", "atr", samples, ["N", "V", "+"], aux_note=["", "", "(AFIB"], write_dir=str(tmp_path))
    whole = (tmp_path / "a.atr").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "b.atr").write_bytes(whole[:length])
        with pytest.raises(ReadError, match=r"b\.atr: truncated"):
            read_annotations(tmp_path / "b.atr", 250)
    with pytest.raises(ReadError, match=r"c\.atr: no such file or directory: the record has no annotations"):
        read_annotations(tmp_path / "c.atr", 250)
