"""Units of voltage."""

#: volts -> millivolts and so on: what a file may give as unit
MILLIVOLTS_PER_UNIT = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}
