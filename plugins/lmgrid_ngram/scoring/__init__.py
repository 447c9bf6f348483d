"""The probabilities of tokens under a back-off model, and the model on disk."""
