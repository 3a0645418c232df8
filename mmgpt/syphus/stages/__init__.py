"""The stages of a run, each of which can be run again alone."""
