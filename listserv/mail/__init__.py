"""Forms: mail by its RFCs, bytes in, bytes out; pure, no I/O, no clock."""
