"""A task's images: sources, splits, decoding, fingerprints, caches."""
