"""FHIR Observation with SampledData (R4 and R5), JSON or XML: chunks of one lead in their order make the lead."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgprism.ecg.recording import Recording
from ecgprism.ecg.units import LONGEST_UNIT
from ecgprism.errors import ReadError, one_line
from ecgprism.extras import library
from ecgprism.formats.contract import Channel, Declaration, FileContent, assembled, check_xml

_NAMESPACE = "{http://hl7.org/fhir}"
MAX_WORD = 64
_MARKS = {"E": math.nan, "U": math.nan, "L": math.nan}  # error, above and below the limits


def recognised(head: bytes, root: str) -> bool:
    """Return whether the first bytes of a file, or the root element that they show, are those of a FHIR resource."""
    return root == "Observation" or (
        head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" and b'"resourceType"' in head
    )


def read(path: Path, declared: Declaration) -> Recording:
    """Read an Observation. Raises ReadError; a unit that the origin does not give is declared."""
    with path.open("rb") as file:
        first = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    observation = _json(path) if first == b"{" else _xml(path)
    if observation.get("resourceType") != "Observation":
        raise ReadError(f"{path}: FHIR resource {observation.get('resourceType')!r}; expected an Observation")
    parts: dict[str, list[NDArray[np.float64]]] = {}
    said: dict[str, tuple[str, float]] = {}
    components = observation.get("component") or [observation]
    for component in components if isinstance(components, list) else []:
        sampled = component.get("valueSampledData") if isinstance(component, dict) else None
        if not isinstance(sampled, dict):
            continue
        name = _name(component)
        unit, rate_hz, values = _samples(path, name, sampled)
        if name in said and said[name] != (unit, rate_hz):
            raise ReadError(f"{path}: the chunks of {name} have different units or rates")
        said[name] = (unit, rate_hz)
        parts.setdefault(name, []).append(values)
    channels = [Channel(name, np.concatenate(values), *said[name]) for name, values in parts.items()]
    if not channels:
        raise ReadError(f"{path}: FHIR Observation without SampledData")
    time = observation.get("effectiveDateTime")
    details = {"acquired": str(time)} if time else {}
    return assembled(path, "FHIR Observation", FileContent(channels, details=details), declared)


def _samples(path: Path, name: str, sampled: dict[str, Any]) -> tuple[str, float, NDArray[np.float64]]:
    """Return unit, rate and physical values of one SampledData."""
    at = f"{path}: {name}"
    try:
        origin = sampled.get("origin") or {}
        zero, factor = float(origin.get("value", 0)), float(sampled.get("factor", 1))
        period = float(sampled["period"]) if "period" in sampled else float(sampled["interval"])
        if float(sampled.get("dimensions") or 1) != 1:
            raise ReadError(f"{at} has {str(sampled['dimensions'])[:40]} dimensions; expected 1")
        in_a_second = {"ms": 1e3, "s": 1.0, "us": 1e6}[sampled.get("intervalUnit", "ms")]
        words = str(sampled.get("data", "")).split()
        digital = np.array([_value(word) for word in words])
        rate_hz = in_a_second / period if period else 0.0
    except (KeyError, ValueError, TypeError, ZeroDivisionError, AttributeError, OverflowError) as error:
        raise ReadError(f"{at} is no valid SampledData ({type(error).__name__}: {one_line(error)})") from None
    unit = str(origin.get("code") or origin.get("unit") or "")[:LONGEST_UNIT]
    return unit, rate_hz, _physical(sampled, digital, zero, factor)


def _value(word: str) -> float:
    if len(word) > MAX_WORD:
        raise ValueError(f"a number of {len(word)} characters")
    return _MARKS[word] if word in _MARKS else float(word)


def _physical(sampled: dict[str, Any], digital: NDArray[np.float64], zero: float, factor: float) -> NDArray[np.float64]:
    """Return origin + data * factor, as the standard says; (data - origin) * factor where only that is in the limits.

    The standard's own example is of the second kind: its origin counts steps, as its data do.
    """
    values, others = zero + digital * factor, (digital - zero) * factor
    try:
        low, high = float(sampled["lowerLimit"]), float(sampled["upperLimit"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return values
    there = ~np.isnan(digital)
    inside = [bool(((v[there] >= low) & (v[there] <= high)).all()) for v in (values, others)]
    return others if inside == [False, True] else values


def _name(component: dict[str, Any]) -> str:
    """Return a lead's name from the coding of a component."""
    code = component.get("code") or {}
    codings = code.get("coding") if isinstance(code, dict) else None
    coded = [c for c in codings if isinstance(c, dict)] if isinstance(codings, list) else []
    texts = [str(c.get("display") or c.get("code") or "") for c in coded]
    texts.append(str(code.get("text", "")) if isinstance(code, dict) else "")
    return next((text for text in texts if text), "")[:200]


def _json(path: Path) -> dict[str, Any]:
    try:
        observation = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path}: no valid FHIR JSON ({str(error)[:200]})") from None
    if not isinstance(observation, dict):
        raise ReadError(f"{path}: no valid FHIR JSON (not an object)")
    return observation


def _xml(path: Path) -> dict[str, Any]:
    trees = library("defusedxml.ElementTree", f"{path}: reading FHIR XML", ReadError)
    trap = library("defusedxml.common", f"{path}: reading FHIR XML", ReadError).DefusedXmlException
    check_xml(path)
    try:
        root = trees.parse(path).getroot()
    except (trees.ParseError, trap, ValueError, LookupError, RecursionError) as error:
        raise ReadError(f"{path}: no valid FHIR XML ({' '.join(str(error).split())[:200]})") from None
    return {"resourceType": root.tag.removeprefix(_NAMESPACE), **_tree(root)}


def _tree(element: Any, depth: int = 0) -> dict[str, Any]:
    """Return FHIR XML as its JSON form: values by name, `component` and `coding` as lists."""
    out: dict[str, Any] = {}
    if depth > 20:
        return out
    for child in element:
        name = str(child.tag).removeprefix(_NAMESPACE)
        value: Any = child.get("value") if child.get("value") is not None else _tree(child, depth + 1)
        if name in ("component", "coding"):
            out.setdefault(name, []).append(value)
        else:
            out[name] = value
    return out
