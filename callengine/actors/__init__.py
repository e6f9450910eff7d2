"""Thin actors over the machines."""
