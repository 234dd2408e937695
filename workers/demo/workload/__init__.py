"""What runs on the demo's cluster: drivers, each `python -m workers.demo.workload.<name>`, and what they share."""
