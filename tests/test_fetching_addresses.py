"""Where a fetch asks: plain http, mirrors, proxies, addresses that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecgprism.datasets import server
from ecgprism.datasets.fetching import fetch
from ecgprism.errors import EcgprismError
from tests.replica import BIG, FILES, SUMS, Replica, failure, replica, run, tiny

__all__ = ["replica", "tiny"]  # fixtures


@pytest.mark.parametrize(
    "url",
    [
        "http://physionet.org/files", "ftp://physionet.org", "file:///etc", "physionet.org/files", "", " ", "https://",
        "http://127.0.0.1.evil.org", "http://127.0.0.1@evil.org", "http://localhost.evil.org", "http://evil.org#127.0.0.1",
        "https://a.org/?x", "https://a b.org", "http://evil.org\\@127.0.0.1", "http://[::1", "https://a.org:x/",
        "https://me:secret@a.org", "http://0.0.0.0",
    ],
)  # fmt: skip
def test_plain_http_and_odd_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(EcgprismError, match="base URL") as caught:
        fetch("tiny", tmp_path, base_url=url or " ", announce=None, attempts=1)
    assert "https://" in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["https://a.org/x/", "http://localhost:1", "http://127.8.9.1/x", "http://[::1]:80/x"])
def test_https_and_this_machine_are_allowed(url: str) -> None:
    assert server.checked_base(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("https://a.org/x", "https://a.org/y", True),
        ("https://a.org/x", "https://b.org/y", True),
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/x", "http://127.0.0.1/x", False),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", True),
        ("http://127.0.0.1/x", "http://localhost/x", False),
        ("http://127.0.0.1/x", "http://b.org/x", False),
        ("http://127.0.0.1/x", "https://b.org/x", True),
        ("https://a.org/x", "ftp://a.org/x", False),
        ("https://127.0.0.1/x", "http://127.0.0.1/x", False),
        ("http://a.org/x", "http://a.org/y", False),
    ],
)
def test_redirects_end_at_https_or_on_this_machine(old: str, new: str, allowed: bool) -> None:
    assert server.may_redirect(old, new) is allowed


def test_a_redirect_on_the_same_host_is_followed_with_its_range(replica: Replica, tmp_path: Path) -> None:
    replica.plan = {BIG: [("cut", 100), ("redirect", f"{replica.base}/tiny/1.2.3/moved"), ("behave", None)]}
    replica.files["moved"] = FILES[BIG]
    run(replica, tmp_path, include=BIG)
    assert replica.asked("moved") == ["bytes=100-"]


@pytest.mark.parametrize("target", ["http://localhost:1/x", "http://example.org/x", "file:///etc/passwd"])
def test_a_redirect_elsewhere_is_refused(replica: Replica, tmp_path: Path, target: str) -> None:
    replica.plan = {"table.csv": [("redirect", target)]}
    text = failure(replica, tmp_path)
    assert "table.csv" in text and len(replica.asked("table.csv")) == 1


def test_a_proxy_is_not_asked_for_this_machine(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    run(replica, tmp_path, attempts=1)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ptbxl", "https://physionet.org/files/ptb-xl/1.0.3/"),
        ("cinc2017", "https://physionet.org/files/challenge-2017/1.0.0/"),
        ("mitbih", "https://physionet.org/files/mitdb/1.0.0/"),
        ("nstdb", "https://physionet.org/files/nstdb/1.0.0/"),
        ("ludb", "https://physionet.org/files/ludb/1.0.1/"),
        ("challenge2021", "https://physionet.org/files/challenge-2021/1.0.3/"),
        ("chapman", "https://physionet.org/files/challenge-2021/1.0.3/"),
        ("georgia", "https://physionet.org/files/challenge-2021/1.0.3/"),
        ("cpsc2018", "https://physionet.org/files/challenge-2021/1.0.3/"),
    ],
)
def test_without_a_mirror_physionet_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    def asked(mirror: server.Mirror, file: str, _: int) -> bytes:
        raise EcgprismError(mirror.address(file))

    monkeypatch.setattr(server.Mirror, "read", asked)
    with pytest.raises(EcgprismError) as caught:
        fetch(name, tmp_path, announce=None)
    assert str(caught.value) == url + SUMS
