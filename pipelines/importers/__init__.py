"""Brings known layouts into data set folders."""
