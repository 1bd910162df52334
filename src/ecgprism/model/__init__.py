"""The network: views, encoders, fusions, heads."""
