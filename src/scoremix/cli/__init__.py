"""The command line: options are declared here without anything that is slow to load, work is imported when it runs.

1. `parsing`: texts of options to values.
2. `terminal`, `screen`: errors in one line with an exit status; the console and its progress.
3. `summary`: tables of a fitted model.
4. `fit`, `using`, `demo`: what the commands do.
5. `app`: the commands and their options.

A wrong input ends with one sentence and status 2, and leaves no file half written.
"""
