"""Adapters: classes in the registry ``ADAPTERS`` that put trained adapters into a built model."""
