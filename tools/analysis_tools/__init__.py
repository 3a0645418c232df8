"""Tools that tell what something is like, without training it."""
