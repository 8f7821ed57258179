"""Benchmarks of the default mode of DiffusionMixture: a mixture of any shape, and what polynomials add to it.

Two rivals take part only where they can be imported: a neural score where torch can, and npeb with cvxpy.
"""
