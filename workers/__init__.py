"""The processes that look at the cluster and write what they saw to the store (no Flask)."""
