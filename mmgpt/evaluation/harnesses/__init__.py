"""Our models in other people's evaluation harnesses: lmms-eval and VLMEvalKit, by their plugin interfaces."""
