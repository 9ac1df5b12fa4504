"""Beam preprocessing: raw tables in; training examples, catalog and dead letters out.

Imports nothing: whoever needs a part alone must not load the encoder of Examples, and with it tfx-bsl.
"""
