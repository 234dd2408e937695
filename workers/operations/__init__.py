"""Change the cluster, for a named person, recorded."""
