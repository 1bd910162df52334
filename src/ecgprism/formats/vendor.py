"""The vendors' formats: GE MUSE, Philips Sierra, HL7 aECG, SCP-ECG, DICOM and MFER, each recognised by its content."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ecgprism.ecg.recording import Recording
from ecgprism.formats import aecg, dicom, mfer, muse, scp, sierra
from ecgprism.formats.contract import Declaration

HEAD = 4096  # bytes of a file that tell its format
_NAME = re.compile(r"<([\w.:-]+)")


def xml_root(head: bytes) -> str:
    """Return the name of the root element that the first bytes of an XML file show, or an empty text."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head.decode("utf-16", errors="ignore")
    else:
        text = head.decode("utf-8-sig", errors="ignore")
    at = len(text) - len(text.lstrip())
    while text.startswith(("<?", "<!"), at):
        end = "-->" if text.startswith("<!--", at) else "?>" if text[at + 1] == "?" else ">"
        begin = text.find("[", at, text.find(">", at)) if end == ">" else -1
        if begin >= 0:  # a document type with declarations of its own
            begin = text.find("]", begin)
        at = text.find(end, at if begin < 0 else begin)
        if at < 0:
            return ""
        at += len(end)
        at += len(text[at:]) - len(text[at:].lstrip())
    match = _NAME.match(text, at)
    return match[1].rpartition(":")[2] if match else ""


#: name -> (test of the first bytes and of the root element that they show, reader)
KINDS: dict[str, tuple[Callable[[bytes, str], bool], Callable[[Path, Declaration], Recording]]] = {
    "scp": (lambda head, root: scp.recognised(head), scp.read),
    "mfer": (lambda head, root: mfer.recognised(head), mfer.read),
    "muse": (lambda head, root: root == "RestingECG", muse.read),
    "sierra": (lambda head, root: root == "restingecgdata", sierra.read),
    "aecg": (lambda head, root: root == "AnnotatedECG", aecg.read),
    "dicom": (lambda head, root: dicom.recognised(head), dicom.read),
}


def recognised(head: bytes, root: str) -> str | None:
    """Return the name of the format that the first bytes of a file and their root element show, or None."""
    return next((name for name, (test, _) in KINDS.items() if test(head, root)), None)


def read(path: Path, kind: str, declared: Declaration) -> Recording:
    """Read a file of one of these kinds. Raises ReadError with the format and the reason."""
    return KINDS[kind][1](path, declared)
