"""The layer language: primitives, graphs of them, expressions, canonical form, derivatives and published layers."""
