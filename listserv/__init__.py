"""The map of the house: stub, completed below."""
