"""Model files of older formats, brought to what this version builds: the same network, the same answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ecgprism.interface.storage import Network, State

#: options that a component had before there was an option for them
_BEFORE_3: Mapping[str, Mapping[str, Any]] = {"cnn_bilstm": {"stem_stride": 2}}


def upgraded(network: Network, state: State, written_as: int) -> tuple[Network, State]:
    """Return network and weights of a model file as the newest format has them.

    Up to format 2 signals had 1-D convolutions, and options at their defaults were not written.
    """
    if written_as >= 3 or not any(_is_of_a_signal(key, array.ndim) for key, array in state.items()):
        return network, state
    views = copy.deepcopy(dict(network["views"]))
    for branch in views.values():
        encoder = branch["encoder"]
        encoder["options"] = {**_BEFORE_3.get(encoder["name"], {}), **encoder["options"]}
    weights = {key: array[:, :, None] if _is_of_a_signal(key, array.ndim) else array for key, array in state.items()}
    return {**network, "views": views}, weights


def _is_of_a_signal(key: str, dimensions: int) -> bool:
    return key.endswith(".conv.weight") and dimensions == 3
