"""Measurements, pictures and tables of the tools."""
