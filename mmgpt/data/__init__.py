"""From an annotation file to a batch: source, retriever, template, tokens, vision inputs, collate."""
