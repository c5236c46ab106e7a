"""Analysis of many runs: they are read from the store, grouped, averaged and compared.

It needs no torch and no corpus.
"""
