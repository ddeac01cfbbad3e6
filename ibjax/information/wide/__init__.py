"""Estimators for layers of hundreds of units and for data that are a sample; each says how sure it is, where it can."""
