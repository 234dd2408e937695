"""On a schedule: read a source, decode, write the store."""
