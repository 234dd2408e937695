"""The process that shows what the store remembers (no ray, no redis, no rq)."""
