"""Pages: the same acts as by mail, through another door."""
