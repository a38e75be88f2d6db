"""Budget: household transactions as French banks write them, to categories, anomalies and month-end spending."""
