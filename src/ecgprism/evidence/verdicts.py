"""What a ledger says in words: whether fusion pays, what a view is worth, and where the data cannot tell."""

from __future__ import annotations

from typing import Literal

from ecgprism.evidence.reports import Support
from ecgprism.metrics.intervals import Difference, Estimate

MARGIN = 0.02  # a difference within it, on either side of zero, counts as none
LEAST_PATIENTS = 10  # with, and without, each class: below, an interval covers less than it says

Outcome = Literal["more", "less", "alike", "unclear"]
RULE = (
    f"`more` or `less`: the interval lies above or below zero; `alike`: it lies within {MARGIN:g} of zero; otherwise, "
    f"or with fewer than {LEAST_PATIENTS} patients with or without a class, the data cannot tell"
)


def outcome(difference: Difference, support: Support) -> Outcome:
    """Return what a difference shows."""
    if not difference.known or difference.shaky or support.fewest < LEAST_PATIENTS:
        return "unclear"
    if difference.sign:
        return "more" if difference.sign > 0 else "less"
    return "alike" if difference.low >= -MARGIN and difference.high <= MARGIN else "unclear"


def of_view(view: str, metric: str, lost: Difference, support: Support) -> str:
    """Return what a view brings to the whole; `lost` is the whole minus the model that was trained without it."""
    shown = in_words(lost)
    match outcome(lost, support):
        case "more":
            return f"{view} carries what no other view has: trained without it, {metric} is lower by {shown}"
        case "less":
            return f"{view} harms: trained without it, {metric} is higher ({shown} with it)"
        case "alike":
            return f"{view} is not needed: with it, {metric} differs by {shown}, less than {MARGIN:g} either way"
        case _:
            return f"{view}: whether it is needed cannot be told on {support}: with it, {metric} differs by {shown}"


def of_fusion(metric: str, fused: Estimate, best: Difference, control: Difference, support: Support) -> str:
    """Return whether fusion pays: only if it beats the best single view *and* the control of at least its size."""
    shown = (
        f"{metric} {'undefined' if not fused.known else f'{fused.value:.3f}'}, {in_words(best)} against the best "
        f"single view, {in_words(control)} against an ensemble of it of at least the same size"
    )
    match outcome(best, support), outcome(control, support):
        case "more", "more":
            said = f"Yes, fusion pays: {shown}."
        case "less", "less":
            said = f"No, fusion loses: {shown}."
        case "less", _:
            said = f"No gain, and less than the best single view: {shown}."
        case _, "less":
            said = f"No gain, and less than the control: {shown}."
        case _, "alike":
            said = f"No gain beyond size: {shown}; more seeds of one view do as well."
        case "alike", _:
            said = f"No gain: {shown}; one view alone does as well."
        case _:
            said = f"Whether fusion pays cannot be told on {support}: {shown}."
    return said


def in_words(difference: Difference) -> str:
    """Return a difference with its interval in words."""
    if not difference.known:
        return "an undefined amount"
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
