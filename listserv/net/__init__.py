"""The wire: the only code that waits on the network; it knows no SQL."""
