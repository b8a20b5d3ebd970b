"""The terminal: consoles, signals, arguments, options, completion, and errors for people."""
