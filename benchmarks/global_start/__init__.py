"""Benchmarks of one start without restarts: how often it finds the components, how long it takes, where it loses.

Laws, methods and measurements are separate; all methods of a problem get the same rows and take turns in one process.
"""
