"""The products' own services: what their front ends talk to."""
