"""The pipeline on the graph: a list of named stages, Relax module in, Relax module out."""
