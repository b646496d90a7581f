"""Hands tasks to people who do not use mu2net."""
