"""The test kit: a whole server and a whole outside world on loopback."""
