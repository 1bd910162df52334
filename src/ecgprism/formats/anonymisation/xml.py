"""XML written anew, and what identifies somebody in the XML that is left behind."""

from __future__ import annotations

import base64
import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ecgprism.extras import library
from ecgprism.formats.anonymisation import secrets
from ecgprism.formats.anonymisation.content import Copy, Source

LEFT_OUT = "measurements, statements, times, devices and all other text"
_IDENTIFYING = re.compile(
    r"(?!codeSystem|display|lead|software)\w*(name|id|number|given|family|mrn|extension|line|clinician|operator)", re.I
)
_SAMPLES = 200  # longer values are samples: they hold any letters and digits by chance


def original(source: Source) -> Element:
    """Return the root of the file, without namespaces. Entities were refused when it was parsed."""
    root: Element = library("ecgdatakit.parsing.helpers.xml", "anonymising XML").parse_xml_root(source.data)
    return root


def node(tag: str, *children: Element | None, text: str | None = None, **attributes: str | None) -> Element:
    """Return an element; children and attributes that are None are left out, `_` in an attribute's name is `:`."""
    element = Element(tag, {name.replace("_", ":"): value for name, value in attributes.items() if value is not None})
    element.extend(child for child in children if child is not None)
    element.text = text
    return element


def leaf(tag: str, value: object) -> Element | None:
    """Return an element with a text; None for None."""
    return None if value is None else node(tag, text=str(value))


def integers_text(counts: NDArray[np.float64]) -> str:
    """Return samples as 16-bit integers in base 64. Raises ValueError where they are none."""
    integers = counts.astype("<i2")
    if not np.array_equal(integers, counts):
        raise ValueError("samples that are no 16-bit integers")
    return base64.b64encode(integers.tobytes()).decode()


def copy(source: Source, root: Element) -> Copy:
    """Return the copy of an XML file that `root` describes."""
    values = [v for e in root.iter() for v in (*e.attrib.values(), e.text or "") if len(v) < _SAMPLES]
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return Copy(text, "\0".join(values).encode(), _secrets(original(source), values), LEFT_OUT)


def _secrets(root: Any, values: list[str]) -> set[str]:
    pairs = [(name, text.strip()) for e in root.iter() for name, text in ((e.tag, e.text), *e.attrib.items()) if text]
    named = {text for name, text in pairs if _IDENTIFYING.fullmatch(name) or (name == "root" and "-" in text)}
    return set().union(*map(secrets.words, named - {value.strip() for value in values}))
