"""What is printed for people. Modules take models and return rich tables and text; upstream text goes through
safe_text."""
