"""Open data sets that are known, and how they are fetched."""
