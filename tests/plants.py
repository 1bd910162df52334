"""A name, a number or a date in one field of a file, field by field: what an anonymiser has to find."""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from xml.etree import ElementTree

import pydicom
from pydicom.datadict import DicomDictionary, keyword_for_tag

NAME, NUMBER, DATE = "Kowalska", "7712345", "19580317"
PLANTS = (NAME, NUMBER, DATE)
_STAND_IN = "65432198"  # as long as NAME
#: (where, what, how the file is made)
Planted = tuple[str, str, Callable[[], bytes]]


def survives(plant: str, data: bytes) -> bool:
    """Whether a plant stands in a file: as text of any encoding, as an integer, in base 64."""
    held = [data, *(_decoded(text) for text in re.findall(rb">\s*([A-Za-z0-9+/=\s]{40,})<", data))]
    spelled = [plant.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]
    if plant == DATE:
        spelled += [b"1958-03-17", b"17.03.58", b"03-17-1958"]
    if plant.isdigit():
        spelled += [int(plant).to_bytes(4, order) for order in ("little", "big")]
    return any(word.lower() in part.lower() for word in spelled for part in held)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()))
    except binascii.Error:
        return b""


# DICOM


def dicom(data: bytes) -> Iterator[Planted]:
    """Plants in every element, in new ones of every kind and group, in nested and private sequences, and outside."""
    paths = list(_elements(pydicom.dcmread(io.BytesIO(data))))
    seen: dict[str, int] = {}
    for path in paths:
        kind = "/".join(keyword_for_tag(part) or str(part) for part in path[::2])
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > 2:  # of many leads and annotations, two
            continue
        for plant in PLANTS:
            yield f"element {kind}", plant, partial(_dicom_with, data, partial(_set, path, plant))
    yield from _added(data)
    for plant in PLANTS:
        yield "preamble", plant, partial(bytes, plant.encode().ljust(128, b"\0") + data[128:])
        yield "behind the end", plant, partial(bytes, data + plant.encode())


def _elements(dataset: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for element in dataset:
        yield (*path, element.tag)
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from _elements(item, (*path, element.tag, number))


def _set(path: tuple[Any, ...], plant: str, file: Any) -> None:
    for part in path[:-1]:
        file = file[part]
    element = file[path[-1]]
    file.add_new(element.tag, element.VR, _value(element.VR, plant))


def _value(representation: str, plant: str) -> Any:  # noqa: PLR0911  (a representation a line)
    text = plant.encode().ljust(len(plant) + len(plant) % 2)
    digits = int(plant) if plant.isdigit() else int.from_bytes(plant.encode()[:2], "little")
    if representation in ("US", "SS"):
        return digits % 32768
    if representation in ("UL", "SL"):
        return digits % (1 << 31)
    if representation in ("DS", "IS") and not plant.isdigit():
        return _STAND_IN  # letters cannot be set, and are put in later
    if representation in ("FL", "FD"):
        return float(digits)
    if representation == "SQ":
        item = pydicom.Dataset()
        item.add_new(0x00081030, "LO", plant)
        item.add_new(0x003A0200, "IS", _value("IS", plant))
        return [item]
    if representation in ("OB", "OW", "OD", "UN"):
        return text.ljust(8)
    if representation == "AT":
        return digits
    if representation == "UI":
        return f"1.2.{digits}.5" if plant.isdigit() else plant
    return plant


def _dicom_with(data: bytes, change: Callable[[Any], None]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        try:
            file = pydicom.dcmread(io.BytesIO(data))
            change(file)
            stream = io.BytesIO()
            file.save_as(stream)
            return stream.getvalue().replace(_STAND_IN.encode(), NAME.encode())
        finally:
            pydicom.config.settings.writing_validation_mode = pydicom.config.WARN
            pydicom.config.settings.reading_validation_mode = pydicom.config.WARN


def _added(data: bytes) -> Iterator[Planted]:
    """Plants in elements that the file lacks."""
    channel = ("WaveformSequence", 0, "ChannelDefinitionSequence", 0)
    group = channel[:2]
    known = [tag for tag in DicomDictionary if tag >> 16 in (0x003A, 0x5400)]
    unknown = [(group_number << 16 | 0x0F00 + i) for group_number in (0x003A, 0x5400) for i in range(3)]
    others = [0x00080100, 0x00081030, 0x00100010, 0x00102160, 0x00104000, 0x00181030, 0x0020000E, 0x00400555,
              0x0040A160, 0x00700006, 0x60000022, 0x7FE00010, 0xFFFCFFFC, 0x00080005]  # fmt: skip
    for place in ((), group, channel):
        for tag in (*known, *unknown, *others):
            representation = DicomDictionary[tag][0].split(" or ")[0] if tag in DicomDictionary else "UN"
            for vr in dict.fromkeys(
                (representation, *(("CS", "OB", "DS", "IS", "LO", "SQ") if tag in unknown else ()))
            ):
                plant = PLANTS[(tag + len(place)) % 3]
                yield (
                    f"added {place and place[-2]} {tag:08x} {vr}",
                    plant,
                    partial(
                        _dicom_with,
                        data,
                        lambda file, t=tag, v=vr, p=plant, at=place: _at(file, at).add_new(t, v, _value(v, p)),
                    ),
                )
        for plant in PLANTS:
            yield (
                f"private {place and place[-2]}",
                plant,
                partial(_dicom_with, data, partial(_add_private, place, plant)),
            )


def _add(place: tuple[Any, ...], tag: int, representation: str, plant: str, file: Any) -> None:
    _at(file, place).add_new(tag, representation, _value(representation, plant))


def _add_private(place: tuple[Any, ...], plant: str, file: Any) -> None:
    _at(file, place).private_block(0x0011, plant, create=True).add_new(1, "SQ", _value("SQ", plant))


def _at(file: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        file = file[part] if isinstance(part, int) else file[part].value
    return file


# XML


def xml(data: bytes) -> Iterator[Planted]:
    """Plants in every text, tail and attribute, in comments, CDATA, instructions, unknown elements and attributes."""
    for prefix in re.findall(rb'xmlns:?(\w*)="([^"]+)"', data.replace(b"\0", b"")):
        ElementTree.register_namespace(prefix[0].decode(), prefix[1].decode())
    root = ElementTree.fromstring(data)
    seen: dict[str, int] = {}
    for number, element in enumerate(root.iter()):
        kind = re.sub(r"\{.*?\}", "", str(element.tag))
        code = next((child.get("code", "") for child in element if "code" in child.attrib), "")
        seen[kind + code] = seen.get(kind + code, 0) + 1
        if seen[kind + code] > 2:
            continue
        for plant in PLANTS:
            changes: dict[str, Callable[[Any, str], object]] = {
                f"text of {kind}": lambda e, p: setattr(e, "text", p),
                f"in the text of {kind}": _append,
                f"behind {kind}": lambda e, p: setattr(e, "tail", p),
                f"new attribute of {kind}": lambda e, p: e.set("remark", p),
                f"new element in {kind}": lambda e, p: setattr(ElementTree.SubElement(e, "remark"), "text", p),
                f"comment in {kind}": lambda e, p: e.append(ElementTree.Comment(p)),
                f"instruction in {kind}": lambda e, p: e.append(ElementTree.ProcessingInstruction(p, "x")),
                **{f"{kind}@{name}": partial(_set_attribute, name) for name in element.attrib},
            }
            for where, change in changes.items():
                yield where, plant, partial(_xml_with, data, number, change, plant)
    encoding = "utf-16-le" if b"\0" in data[:8] else "utf-8"
    for plant in PLANTS:
        for where, text in (("instruction", f"<?{plant} x?>"), ("comment", f"<!--{plant}-->")):
            yield f"{where} behind the end", plant, partial(bytes, data + text.encode(encoding))


def _set_attribute(name: str, element: Any, plant: str) -> None:
    element.set(name, plant)


def _xml_with(data: bytes, number: int, change: Callable[[Any, str], object], plant: str) -> bytes:
    root = ElementTree.fromstring(data)
    change(list(root.iter())[number], plant)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _append(element: Any, plant: str) -> None:
    element.text = f"{(element.text or '').rstrip()} {plant}"


# SCP-ECG


def scp(data: bytes) -> Iterator[Planted]:
    """Plants in every tag of section 1, in unknown sections, in reserved bytes, and behind every content."""
    held = _scp_sections(data)
    for tag in range(255):
        plant = PLANTS[tag % 3].encode() + b"\0"
        added = struct.pack("<BH", tag, len(plant)) + plant
        yield f"tag {tag}", PLANTS[tag % 3], partial(_scp_of, {**held, 1: held[1][:16] + added + held[1][16:]})
    for plant in PLANTS:
        text = plant.encode().ljust(8, b"\0")
        for number in range(1, 12):
            section = held.get(number, struct.pack("<HHIBB6x", 0, number, 16, 20, 20))
            yield f"behind section {number}", plant, partial(_scp_of, {**held, number: section + text})
            yield (
                f"reserved of {number}",
                plant[:6],
                partial(_scp_of, {**held, number: section[:10] + text[:6] + section[16:]}),
            )
        for number in (12, 77, 200, 1023):
            yield f"section {number}", plant, partial(_scp_of, {**held, number: bytes(16) + text})
        for number in (5, 6):
            if number in held:
                yield (
                    f"behind the leads of {number}",
                    plant,
                    partial(_scp_of, {**held, number: _slack(held[number], text)}),
                )
        yield "behind the end", plant, partial(bytes, data + text)
        device = held[1].replace(b"SN99812X\0", text.rstrip(b"\0") + b"\0", 1)
        yield "serial number", plant, partial(_scp_of, {**held, 1: device})
        for at in range(len(held[3]) - 16 - 4):
            if at in (0, 1, 2, 6, 10, 11, 15):
                section = bytearray(held[3])
                section[16 + at : 16 + at + 4] = text[:4]
                yield f"bytes {at} of section 3", plant[:4], partial(_scp_of, {**held, 3: bytes(section)})


def _slack(section: bytes, text: bytes) -> bytes:
    """Make the data of the last lead longer than its samples."""
    count = 0
    while struct.unpack_from("<H", section, 22 + 2 * count)[0] == struct.unpack_from("<H", section, 22)[0]:
        count += 1
        if 22 + 2 * count + 2 > len(section):
            break
    changed = bytearray(section + text)
    last = 22 + 2 * (min(count, 8) - 1)
    struct.pack_into("<H", changed, last, struct.unpack_from("<H", changed, last)[0] + len(text))
    return bytes(changed)


def _scp_sections(data: bytes) -> dict[int, bytes]:
    length = struct.unpack_from("<I", data, 10)[0]
    pointers = (struct.unpack_from("<HII", data, at) for at in range(22, 6 + length - 9, 10))
    return {number: data[index - 1 : index - 1 + size] for number, size, index in pointers if size and number}


def _scp_of(sections: dict[int, bytes]) -> bytes:
    def crc(part: bytes) -> bytes:
        return struct.pack("<H", binascii.crc_hqx(part, 0xFFFF))

    fixed = {}
    for number, section in sections.items():
        whole = section + b"\0" * (len(section) % 2)
        whole = whole[:2] + struct.pack("<HI", number, len(whole)) + whole[8:]
        fixed[number] = crc(whole[2:]) + whole[2:]
    numbers = sorted({*range(1, 12), *fixed})
    at, pointers = 6 + 16 + 10 * (len(numbers) + 1), struct.pack("<HII", 0, 16 + 10 * (len(numbers) + 1), 7)
    for number in numbers:
        size = len(fixed.get(number, b""))
        pointers += struct.pack("<HII", number, size, at + 1 if size else 0)
        at += size
    head = struct.pack("<HIBB", 0, 16 + len(pointers), 20, 20) + b"SCPECG" + pointers
    rest = struct.pack("<I", at) + crc(head) + head + b"".join(fixed[number] for number in sorted(fixed))
    return crc(rest) + rest


# EDF

_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


def edf(data: bytes) -> Iterator[Planted]:
    """Plants in every field of the header and of a signal, among samples, in annotations, behind the end."""
    count = int(data[252:256])
    fields = [(8, 80), (88, 80), (168, 8), (176, 8), (184, 8), (192, 44), (197, 8), (236, 8), (244, 8), (252, 4)]
    at = 256
    for width in _WIDTHS:
        fields += [(at + i * width, width) for i in {0, 1, count - 1}]
        at += count * width
    for plant in PLANTS:
        for start, width in fields:
            text = plant.encode()[:width]
            for shift in {0, max(0, min(3, width - len(text)))}:
                value = bytearray(data[start : start + width])
                value[shift : shift + len(text)] = text
                whole = text.ljust(width)
                yield (
                    f"header at {start}+{shift}",
                    text.decode(),
                    partial(bytes, data[:start] + bytes(value) + data[start + width :]),
                )
                yield f"header at {start}", text.decode(), partial(bytes, data[:start] + whole + data[start + width :])
        yield "behind the end", plant, partial(bytes, data + plant.encode())
        for old in (b"\x14Grzegorz\x14", b"\x14" + "Żółwińska".encode()):
            if old in data[at:]:
                made = data.replace(old, old[:1] + plant.encode().ljust(len(old) - 2, b"\0") + old[-1:])
                yield "text of an annotation", plant, partial(bytes, made)
        for old in (b"+0.75\x14\x14", b"+0.25\x14\x14"):
            made = data.replace(old, b"+" + plant.encode()[:4] + b"\x14\x14")
            yield "time of a data record", plant[:4], partial(bytes, made)
        yield "a record more", plant, partial(bytes, data + plant.encode() * (len(data) - at))
    for place in (0, 1, 100, 101, 999):
        start = at + place
        yield (
            f"letters as samples at {place}",
            NAME,
            partial(bytes, data[:start] + NAME.encode() + data[start + len(NAME) :]),
        )
