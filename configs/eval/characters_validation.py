"""Letters that configs/characters_demo.py keeps for decisions: settings are chosen by these, not by its evaluation."""

evaluation = dict(type='CharactersEvaluation', validation=True)
