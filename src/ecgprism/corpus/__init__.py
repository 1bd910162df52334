"""The store of a data set on disk: ingested, split, opened."""
