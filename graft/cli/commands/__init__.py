"""One module a command, each with `command`. Imported by `graft.cli.app` when the command is named."""
