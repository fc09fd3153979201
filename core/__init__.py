"""The shared core: data, model, weights, classifier, training loop and engine."""
