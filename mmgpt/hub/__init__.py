"""The Hugging Face face: processor, Auto classes, and folders that hold a model with everything it needs."""
