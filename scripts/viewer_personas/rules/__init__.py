"""Persona rules: read, checked, compared, explained."""
