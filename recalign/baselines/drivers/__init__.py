"""Programs that run inside a library's own environment: they never import recalign."""
