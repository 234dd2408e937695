"""On demand: answer one question on the node that knows."""
