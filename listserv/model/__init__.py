"""The words of the house: values only, no I/O, no clock, no chance."""
