"""What can be wrong with features, as people and callers meet it."""

from archives.errors import MarinaError


class FeatureStoreError(MarinaError):
    """What was asked of the feature store, or given to it, cannot be used; nothing was done."""


class FeatureStoreAwayError(FeatureStoreError):
    """Neither the online store nor the database answers. Ask again later: both are looked for by themselves."""


class OnlineStoreAwayError(FeatureStoreError):
    """Redis does not answer. Reads go to the database meanwhile."""
