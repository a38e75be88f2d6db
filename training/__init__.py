"""How a model comes to be: data, fit, evaluation, export, archive."""
