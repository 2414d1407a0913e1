"""The access log: what people do here, one line each, kept for a limited time.

`events` makes the lines (`line`): one typed function per event.  `journal` keeps them in files.  In between, a line
is a row of the transaction that made it so, and `store` and `workers` see to that.  docs/access-log.md says the same
to those who read the log.
"""
