"""Log files: who is asked for them, whose they are, and their lines as pages show, follow and search them."""
