"""Benchmarks of EM for Gaussian mixtures: one iteration, whole fits, threads, memory, digits.

Problems, methods and measurements are separate; all methods of a comparison get the same rows and the same start.
"""
