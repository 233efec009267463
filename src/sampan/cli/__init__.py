"""The sampan command: one file per subcommand."""
