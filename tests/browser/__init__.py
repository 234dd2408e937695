"""The pages in a real chromium, on a real Ray cluster."""
