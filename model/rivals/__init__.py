"""The methods that the paper names beside TWIN, and its ablations: one long-term interest module a file."""
