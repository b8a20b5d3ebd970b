"""Typed access to the data of YTArchive for the command line and other programs.

Each module serves one area. It talks to the running services over REST, server-sent events and the bus; where nothing
runs, it reads the files through the read-only interfaces `services.*.offline`.
"""
