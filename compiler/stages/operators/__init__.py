"""Tensor expressions of operators that have a layout or packing of our own, one file each."""
