"""The training loop: steps of gradient descent, and the state they go on from."""
