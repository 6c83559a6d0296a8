"""Thin wiring, one module a stage: raw, warehouse, model, scores, published. The work is done by the pure packages."""
