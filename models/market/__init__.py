"""Market alerts: co-movement and volatility of crypto assets, and what they are likely to do next."""
