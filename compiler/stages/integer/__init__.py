"""Quantized parts of a graph as integer arithmetic: one file for each kind of operator."""
