"""Generates the reference pages of docs/ from the code: `python -m ytarchive.docgen`."""
