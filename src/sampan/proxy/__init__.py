"""Services become kernel rules: tracker, state, backends."""
