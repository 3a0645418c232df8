"""Syphus: instruction-response pairs from visual annotations, by any OpenAI-compatible model, in eight languages.

After the pipeline of MIMIC-IT (arXiv 2306.05425, section 3.2): cold start, generate, parse, filter, translate, build.
"""
