"""A job as the command line sees it: the request, the current state, the result and the exit code. No I/O except for
reading a batch file."""
