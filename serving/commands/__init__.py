"""Commands of the command-line program that serve and query a model."""
