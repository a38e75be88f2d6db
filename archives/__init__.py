"""The archive contract: what a `.mar` holds, how it proves itself, and the store of built ones."""
