"""The methods that the paper compares TWIN with, and its ablations: one long-term interest module a file."""
