"""The registry: one SQLite file that says what was run, how it went and what came out. All SQL is here."""
