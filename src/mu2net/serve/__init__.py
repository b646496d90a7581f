"""Answers over HTTP: every task through one network. Needs the extra ``serve``."""
