"""A local page to try the classifiers of an experiment: see :mod:`headtohead.experiments.playground.__main__`."""
