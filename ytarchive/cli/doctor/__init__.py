"""`ytarchive doctor`: looks at all that ytarchive needs, and says how to mend what is wrong.

Each check is a pure judgement of facts (tested as tables) and a look that gathers them; `examination` puts both
together.
"""
