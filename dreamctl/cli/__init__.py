"""The command line: one thin file a command or noun group; each parses, calls one stage and prints its summary."""
