"""Using a model: generation, the chat session, the terminal."""
