"""What a run found, as an HTML page and as pictures.

`report_data` reads a run from a store into one value, a `Report`. `page` turns that into a self-contained HTML page,
`pictures` draws it with matplotlib, and `run_comparison` compares several runs. Kernel plans come from the compiler.
"""
