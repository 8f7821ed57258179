"""Search: where to start without restarts, and how many components there are.

A search never restarts from nothing: it splits a component where that gains likelihood, merges two where that costs
little, and lets EM settle. All of it runs on samples in memory, in single precision; where values are missing, by the
likelihood of what is there (`em.incomplete`), in double.

Read in this order:

1. `merges`: what merging two components costs.
2. `directions`, `splits`: what splitting one gains, from the samples that it is responsible for.
3. `moves`: split and merge at a fixed number of components.
4. `projection`: many columns seen in few directions.
5. `global_start`: one start that needs no restarts, and the test of optimality after EM.
6. `component_number`: grow and shrink until neither pays.

In: a `Source`, the kind of covariance and a prior. Out: a `Mixture` to run EM from.

Source: Ueda, Nakano, Ghahramani and Hinton 2000 for moves of split and merge; the rest is our own, measured in
docs/global_start_benchmarks.md.
"""
