"""Runs gradient methods on the proxy problems."""
