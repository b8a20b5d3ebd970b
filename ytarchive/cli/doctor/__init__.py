"""`ytarchive doctor`: checks that all requirements are met and suggests fixes.

Each check is a pure function of facts, and a probe that collects the facts; `examination` combines them.
"""
