"""Measures Raydeck, beside what it is compared with, in one run; asserts nothing."""
