"""Benchmarks of gradient descent on the diffusion objective for the means of Gaussian mixtures: docs/sck.md."""
