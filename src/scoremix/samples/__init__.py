"""Samples: where they come from, how they are walked in chunks, and the tables they are read from.

Read in this order:

1. `source`: a `Source` hands out chunks of samples and weights; arrays of any library are sources.
2. `reduce`: a statistic mapped over chunks and summed, in threads, with BLAS on one thread.
3. `csv_dialect`, `formats`: how a text file parts its columns; CSV, Parquet, Arrow and NPY.
4. `tables`: read and write a table by its ending.
5. `columns`: names and units of the columns of a table.

Results depend neither on the size of chunks nor on the number of threads: sums are added in the order of the samples.
"""
