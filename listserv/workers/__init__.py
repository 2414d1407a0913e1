"""Hands: the only code that sees both the store and the wire."""
