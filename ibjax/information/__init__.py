"""Estimators of the information a layer holds; nothing here knows of networks."""
