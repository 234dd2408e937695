"""What a Ray cluster is, as data, and the store that remembers it (no Flask, no Ray)."""
