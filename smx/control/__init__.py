"""From what was asked for to what has run: plan, reserve, submit, follow, retry, cancel."""
