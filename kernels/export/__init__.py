"""Writing a layer to a file that people without evonas can use."""
