"""Words to their stems, as OK-VQA's annotations have them."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=2**16)
def stem(text: str) -> str:
    """An answer with words in *-ing* as the verb's lemma and plural nouns in the singular.

    Raises:
        ImportError: the package ``lemminflect`` is missing.

    Example:
        >>> stem('riding horses')
        'ride horse'
    """
    try:
        from lemminflect import getLemma
    except ImportError as error:
        raise ImportError(
            'OK-VQA compares stems, which lemminflect finds: pip install "mmgpt[evaluation]"; or set task.stems=False'
        ) from error
    words = []
    for word in text.split():
        kind = 'VERB' if word.endswith('ing') else 'NOUN'
        lemmas = getLemma(word, upos=kind, lemmatize_oov=False)
        words.append(lemmas[0] if lemmas and word.islower() else word)
    return ' '.join(words)
