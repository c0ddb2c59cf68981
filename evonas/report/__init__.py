"""What a run found, as a page and as pictures.

`gather` reads a store into one value, a `Report`; `page` makes a self-contained HTML page of it, `pictures` draws it
with matplotlib, and `side_by_side` puts runs next to each other. The room joins others, as the command line does:
plans of kernels come from the compiler.
"""
