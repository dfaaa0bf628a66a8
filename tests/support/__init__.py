"""Helpers of the tests: fake sources, small media, commands and processes."""
