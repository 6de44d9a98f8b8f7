"""Metrics of distilled students."""
