"""The `sluice` command, one file a subcommand."""
