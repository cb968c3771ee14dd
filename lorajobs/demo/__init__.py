"""The bundled demo: a small real base, three adapters, and a run that shows them."""
