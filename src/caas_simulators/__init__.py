"""Simulators of the outside world."""
