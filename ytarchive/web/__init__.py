"""The page: one origin for people. It serves the web page, forwards REST to the five services and tells what happens in
one live stream. It owns no state that matters and decides nothing."""
