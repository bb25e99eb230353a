"""Parts of the differential check: drawn inputs, reference, comparison, single kernels."""
