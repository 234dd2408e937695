"""The only code that names a Redis key: keys, encoding, writer, reader, index."""
