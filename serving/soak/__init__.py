"""Holds a server to its promises under load and faults: `twin soak`."""
