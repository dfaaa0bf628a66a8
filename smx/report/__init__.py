"""Score tables: which runs and scores (`tables`), in which cut (`table`), written how (`formats`).

Nothing is imported here: `smx report --help` asks for the names of formats alone.
"""
