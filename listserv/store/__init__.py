"""Memory: all SQL there is, as functions that take a transaction and return values."""
