"""How long a test waits for what must come."""

PATIENCE = 60.0  # seconds, for a machine that does other things too; how fast it is, scripts/bench says
