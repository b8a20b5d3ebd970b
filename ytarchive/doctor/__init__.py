"""Checks that all requirements of an installation are met, with fixes: `ytarchive doctor`, and the page.

Each check is a pure function of facts, and a probe that collects the facts; `examination` combines them.
"""
