"""Clustered histories: behaviours of a whole life, grouped and averaged into virtual items (TWIN-V2)."""
