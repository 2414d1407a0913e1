"""Acts: what people do with a group.  Every write is one transaction, and nothing here can wait."""
