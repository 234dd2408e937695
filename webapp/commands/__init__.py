"""The `raydeck` command's subcommands; each imports what it runs inside itself."""
