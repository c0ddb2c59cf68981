"""The layer language: the primitives, graphs of them, their text, canonical form, derivatives, and published layers."""
