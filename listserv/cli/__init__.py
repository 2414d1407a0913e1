"""Commands: the same acts as by mail, a third door."""
