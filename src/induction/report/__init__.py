"""The study's report: one file that shows what was found, and asks nothing of the network."""
