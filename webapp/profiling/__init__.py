"""Profiles: which processes, what is asked of them, how far that is, and what came of it."""
