"""The documents, and the generator that keeps them equal to the sources.

Rules: prose is written by people; whatever can be read off the sources is read off them.
"""
