"""Where state comes from: the GCS, the raylet, the host (imports gRPC; `*_decode` modules are pure)."""
