"""SignFlow: which sign is being made in a sequence of body and hand landmarks."""
