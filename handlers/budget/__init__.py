"""How the budget family answers: categories, anomalies, forecasts."""
