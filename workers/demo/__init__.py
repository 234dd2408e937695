"""The real local Ray cluster and workload that `raydeck up --demo` runs."""
